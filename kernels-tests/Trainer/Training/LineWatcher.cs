// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests.Trainer;

/// <summary>Acts when a line appears; training reports on its own thread, so the next step sees it.</summary>
internal sealed class LineWatcher(string start, Action act) : StringWriter
{
    public override void WriteLine(string? value)
    {
        base.WriteLine(value);
        if (value!.StartsWith(start, StringComparison.Ordinal))
        {
            act();
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;

namespace HiMo.Interop;

/// <summary>Tells each kind of warning once, to whoever listens, else on standard error. Several threads may call.</summary>
internal sealed class OneTimeWarnings(string module)
{
    private int _told;

    public event Action<string>? Listeners;

    public void Tell(HiDeWarnings warnings, int m, double relativeGap, double tau)
    {
        HiDeWarnings added = warnings & ~(HiDeWarnings)Interlocked.Or(ref _told, (int)warnings);
        if (added == HiDeWarnings.None)
        {
            return;
        }

        string text = added.Describe(m, relativeGap, tau);
        if (Listeners is { } listeners)
        {
            listeners(text);
        }
        else
        {
            Console.Error.WriteLine($"HiMo.Interop.{module}: {text}");
        }
    }
}

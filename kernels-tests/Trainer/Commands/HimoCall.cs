// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;

namespace HiMo.Kernels.Tests;

/// <summary>One call of the command line inside the test process.</summary>
/// <param name="Code">Its exit code.</param>
/// <param name="Output">What it wrote to standard output, lines ending in LF.</param>
/// <param name="Error">What it wrote to standard error, lines ending in LF.</param>
internal sealed record HimoCall(int Code, string Output, string Error)
{
    public static HimoCall Run(params string[] arguments)
    {
        StringWriter output = new() { NewLine = "\n" };
        StringWriter error = new() { NewLine = "\n" };
        int code = CommandRunner.Run(arguments, output, error);
        return new HimoCall(code, output.ToString(), error.ToString());
    }
}

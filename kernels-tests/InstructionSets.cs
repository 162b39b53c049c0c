// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Runtime.Intrinsics;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Runs tests of this assembly in a child process in which wider instruction sets are switched off.</summary>
internal static class InstructionSets
{
    /// <summary>Fixtures of this category run again with every instruction set switched off in turn; keep their shapes small.</summary>
    public const string Simd = "Simd";

    private const string ExpectedWidth = "HIMO_TEST_VECTOR_BITS";

    /// <summary>Widest vector with hardware behind it in this process, in bits; 0 if there is none.</summary>
    public static int WidestVector =>
        Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : Vector128.IsHardwareAccelerated ? 128 : 0;

    /// <summary>The width that a parent process demands of this one, or null in an ordinary run.</summary>
    public static int? DemandedWidth =>
        Environment.GetEnvironmentVariable(ExpectedWidth) is { Length: > 0 } bits ? int.Parse(bits) : null;

    /// <summary>Runs the tests that the filter selects and asserts that at least one ran and none failed.</summary>
    /// <param name="knob">A runtime switch that is set to 0, for example DOTNET_EnableAVX512.</param>
    /// <param name="widest">Vector width in bits that must be left; a test in the child asserts it.</param>
    /// <param name="filter">A <c>dotnet test</c> filter.</param>
    public static void RunChild(string knob, int widest, string filter)
    {
        string width = $"FullyQualifiedName~{nameof(InstructionSetsTests)}.{nameof(InstructionSetsTests.Vector_width_is_the_one_demanded)}";
        ProcessStartInfo start = new("dotnet")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string argument in new[] { "test", typeof(InstructionSets).Assembly.Location, "--nologo", "--filter", $"({filter})|{width}" })
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[knob] = "0";
        start.Environment[ExpectedWidth] = $"{widest}";
        using Process child = Process.Start(start)!;
        Task<string> errors = child.StandardError.ReadToEndAsync();
        string output = child.StandardOutput.ReadToEnd() + errors.Result;
        child.WaitForExit();
        Assert.That(child.ExitCode, Is.Zero, output);
        Assert.That(output, Does.Match(@"Passed:\s+[2-9]|Passed:\s+\d\d"), $"nothing ran: {output}");
    }
}

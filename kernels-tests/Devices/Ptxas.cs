// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>What ptxas says about one kernel.</summary>
internal sealed record PtxasReport(int Registers, int StackBytes, int SpillBytes, int SharedBytes);

/// <summary>NVIDIA's assembler.</summary>
internal static partial class Ptxas
{
    /// <summary>
    /// Path of ptxas: HIMO_PTXAS, else what <c>eng/ptxas.sh</c> fetched before or, in long runs only, fetches now; skips the running test
    /// where none gives one.
    /// </summary>
    public static string FindOrSkip()
    {
        if (Environment.GetEnvironmentVariable("HIMO_PTXAS") is { Length: > 0 } set)
        {
            return set;
        }

        if (!OperatingSystem.IsLinux() || TestData.RepositoryRootOrNull is null)
        {
            Assert.Ignore("eng/ptxas.sh needs the repository and Debian's apt; HIMO_PTXAS names an assembler elsewhere");
        }

        string script = Path.Combine(TestData.RepositoryRoot, "eng", "ptxas.sh");
        if (!TestLength.IsLong && Run(script, ["--cached"]).ExitCode != 0)
        {
            Assert.Ignore("no ptxas: eng/ptxas.sh or ./test --long fetches it, HIMO_PTXAS names one");
        }

        (int exitCode, string output, string error) = Run(script, []);
        if (exitCode != 0)
        {
            Assert.Ignore($"ptxas could not be fetched: {error.Trim().Split('\n')[^1]}; HIMO_PTXAS names one");
        }

        return output.Trim();
    }

    /// <summary>Assembles; a refusal fails the test with ptxas's own words.</summary>
    public static PtxasReport Assemble(string assembler, string ptx, string target)
    {
        string file = Path.Combine(Path.GetTempPath(), $"himo-{Guid.NewGuid():N}.ptx");
        File.WriteAllText(file, ptx);
        try
        {
            (int exitCode, _, string log) = Run(assembler, ["-v", $"-arch={target}", file, "-o", "/dev/null"]);
            Assert.That(exitCode, Is.Zero, log);
            return new PtxasReport(
                Number(Registers(), log), Number(Stack(), log), Number(SpillStores(), log) + Number(SpillLoads(), log), Shared().IsMatch(log) ? Number(Shared(), log) : 0);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static (int ExitCode, string Output, string Error) Run(string program, string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }

    private static int Number(Regex pattern, string text)
    {
        Match match = pattern.Match(text);
        Assert.That(match.Success, $"ptxas said something else than expected: {text}");
        return int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
    }

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex(@"(\d+) bytes stack frame")]
    private static partial Regex Stack();

    [GeneratedRegex(@"(\d+) bytes spill stores")]
    private static partial Regex SpillStores();

    [GeneratedRegex(@"(\d+) bytes spill loads")]
    private static partial Regex SpillLoads();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();
}

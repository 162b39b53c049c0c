// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>What a call of the program gave.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Error);

/// <summary>Runs the built command line as a process of its own, as a script would.</summary>
internal static class HimoProgram
{
    private static readonly UTF8Encoding s_utf8 = new(encoderShouldEmitUTF8Identifier: false);

    /// <summary>What the dotnet host runs.</summary>
    public static string File => Path.Combine(AppContext.BaseDirectory, "HiMo.Trainer.dll");

    public static ProgramResult Run(string[] arguments, string input = "", params (string Name, string Value)[] environment)
    {
        using Process process = Start(arguments, environment);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return new ProgramResult(process.ExitCode, output.Result, error.Result);
    }

    /// <summary>The most memory that a successful call had at once, in bytes, read until shortly before its end (Linux).</summary>
    public static long PeakMemory(string[] arguments)
    {
        using Process process = Start(arguments);
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        long peak = 0;
        while (!process.WaitForExit(TimeSpan.FromMilliseconds(10)))
        {
            try
            {
                process.Refresh();
                peak = Math.Max(peak, process.PeakWorkingSet64);
            }
            catch (InvalidOperationException)
            {
                break; // it ended between the two calls
            }
        }

        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, error.Result);
        _ = output.Result;
        return peak;
    }

    private static Process Start(string[] arguments, params (string Name, string Value)[] environment)
    {
        ProcessStartInfo start = new(Environment.ProcessPath!, [File, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = s_utf8,
            StandardOutputEncoding = s_utf8,
            StandardErrorEncoding = s_utf8,
        };
        start.Environment["OMP_NUM_THREADS"] = "1";
        Array.ForEach(environment, variable => start.Environment[variable.Name] = variable.Value);
        return Process.Start(start)!;
    }
}

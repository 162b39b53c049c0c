// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Text;

namespace HiMo.Kernels.Tests;

/// <summary>What a call of the program gave.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Error);

/// <summary>Runs the built command line as a process of its own, as a script would.</summary>
internal static class HimoProgram
{
    public static ProgramResult Run(string[] arguments, string input = "")
    {
        UTF8Encoding utf8 = new(encoderShouldEmitUTF8Identifier: false);
        ProcessStartInfo start = new(Environment.ProcessPath!, [Path.Combine(AppContext.BaseDirectory, "HiMo.Trainer.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = utf8,
            StandardOutputEncoding = utf8,
            StandardErrorEncoding = utf8,
        };
        start.Environment["OMP_NUM_THREADS"] = "1";
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        return new ProgramResult(process.ExitCode, output.Result, error.Result);
    }
}

// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Diagnostics;

namespace HiMo.Trainer;

/// <summary><c>gpu-bundle</c>: what a machine with a GPU and nothing else needs to run tests and measurements.</summary>
internal static class GpuBundleCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string> output = new("--out") { Description = "Folder that gets himo-gpu.tar.xz.", HelpName = "DIR", Required = true };
        Command command = new("gpu-bundle", "Pack programs, tests and benchmarks for a machine that has a GPU and nothing installed.") { output };
        command.SetAction(parse =>
        {
            string root = Checkout.Find() ?? throw new UserError("gpu-bundle builds from a checkout of the repository; this program stands alone. Call ./himo there");
            ProcessStartInfo start = new("bash", [Path.Combine(root, "eng", "gpu-bundle", "pack.sh"), Path.GetFullPath(parse.GetRequiredValue(output))]);
            using Process process = Process.Start(start)!;
            process.WaitForExit();
            return process.ExitCode;
        });
        return command;
    }
}

// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Globalization;
using HiMo.Kernels;

namespace HiMo.Trainer;

/// <summary><c>precompile</c>: the GPU kernels as PTX, for builds that shall not leave that to the first step on a GPU.</summary>
internal static class PrecompileCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<string?> output = new("--out") { Description = "The archive. [out/ptx/ of the checkout, where builds of the same sources find it]", HelpName = "FILE" };
        Command command = new("precompile", "Compile the GPU kernels ahead: the next build, package or bundle embeds them, and a GPU's first step need not wait for it.") { output };
        command.Set((parse, cancellation) =>
        {
            string file = parse.GetValue(output) ?? Path.Combine(
                Checkout.Find() ?? throw new UserError("precompile is for builds of a checkout of the repository; this program stands alone. Call ./himo there, or name a file with --out"),
                "out", "ptx", PtxArchive.FileName);
            if (parse.GetValue(output) is null && File.Exists(file))
            {
                parse.InvocationConfiguration.Output.WriteLine($"{file} is there already, of these sources");
                return;
            }

            using KernelInventory inventory = KernelInventory.Of(KernelInventory.All());
            int count = Run(file, inventory, parse.InvocationConfiguration.Error, cancellation);
            parse.InvocationConfiguration.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{file}: {count} kernels, {new FileInfo(file).Length / 1e6:0.0} MB"));
        });
        return command;
    }

    /// <summary>Writes the archive of some kernels.</summary>
    /// <returns>How many.</returns>
    internal static int Run(string file, KernelInventory inventory, TextWriter progress, CancellationToken cancellation)
    {
        using Progress shown = new("kernels", inventory.Kernels.Count, progress);
        int done = 0;
        AtomicFile.Write(file, stream => PtxArchive.Write(stream, inventory.Kernels.Values, _ =>
        {
            cancellation.ThrowIfCancellationRequested();
            shown.Report(++done);
        }));
        return done;
    }
}

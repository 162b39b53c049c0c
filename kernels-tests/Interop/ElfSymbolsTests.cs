// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Interop;

internal sealed class ElfSymbolsTests
{
    private static readonly string? s_sharp = TorchLoader.Find("libLibTorchSharp.so");
    private static readonly string? s_torch = TorchLoader.Find("libtorch.so");

    [OneTimeSetUp]
    public void NeedsLibraries()
    {
        if (s_sharp is null || s_torch is null)
        {
            Assert.Ignore("no libtorch or no libLibTorchSharp.so on this platform");
        }
    }

    [Test]
    public void What_TorchSharp_needs_has_names_of_torch_and_none_of_the_runtimes()
    {
        HashSet<string> needed = ElfSymbols.Needed(s_sharp!);
        Assert.That(needed, Has.Count.EqualTo(1204).And.Contains("_ZN2at4_ops4neg_4callERNS_6TensorE").And.None.Matches("^(malloc|_Zn[wa]m|_ZSt.*)$"));
    }

    [Test]
    public void The_packages_libtorch_has_all_of_it_and_half_of_it_has_not()
    {
        string folder = Path.GetDirectoryName(s_torch)!;
        string[] withoutCpu = ElfSymbols.Missing(s_sharp!, [Path.Combine(folder, "libc10.so"), s_torch!, "/no/such/library.so"]);
        Assert.Multiple(() =>
        {
            Assert.That(TorchLoader.MissingSymbols(folder), Is.Empty);
            Assert.That(withoutCpu, Does.Contain("_ZN2at4_ops4neg_4callERNS_6TensorE").And.Ordered.Using((IComparer<string>)StringComparer.Ordinal));
            Assert.That(withoutCpu, Has.Length.InRange(1, 1203), "libc10 offers some");
        });
    }

    [Test]
    public void Other_files_and_cut_off_ones_are_errors()
    {
        byte[] library = File.ReadAllBytes(s_sharp!);
        string cut = Path.GetTempFileName();
        try
        {
            foreach (int length in new[] { 0, 5, 63, 64, 1000, library.Length / 2, library.Length - 64 })
            {
                File.WriteAllBytes(cut, library[..length]);
                Assert.That(() => ElfSymbols.Needed(cut), Throws.TypeOf<InvalidDataException>(), $"{length} bytes");
            }

            File.WriteAllBytes(cut, new byte[4096]);
            Assert.That(() => ElfSymbols.Needed(cut), Throws.TypeOf<InvalidDataException>().With.Message.Contains(cut));
        }
        finally
        {
            File.Delete(cut);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Interop;

internal sealed class ElfVersionNeedTests
{
    private const string Version = "GLIBCXX_3.4.32";

    [Test]
    public void One_byte_of_the_library_changes()
    {
        byte[] before = ReadLibrary();
        byte[] after = [.. before];
        ElfVersionNeed.MakeWeak(after, Version);
        int[] changed = [.. Enumerable.Range(0, before.Length).Where(i => before[i] != after[i])];
        Assert.That(changed, Has.Length.EqualTo(1));
        Assert.That(after[changed[0]], Is.EqualTo(before[changed[0]] | 2));
    }

    [Test]
    public void A_version_that_is_not_needed_is_an_error() =>
        Assert.That(() => ElfVersionNeed.MakeWeak(ReadLibrary(), "GLIBCXX_9.9.9"), Throws.TypeOf<InvalidDataException>());

    [Test]
    public void Other_files_and_cut_off_ones_are_errors()
    {
        byte[] library = ReadLibrary();
        Assert.That(() => ElfVersionNeed.MakeWeak(new byte[64], Version), Throws.TypeOf<InvalidDataException>());
        foreach (int length in new[] { 0, 5, 16, 0x3c, 64, 1000, library.Length / 2, library.Length - 64 })
        {
            byte[] cut = library[..length];
            Assert.That(() => ElfVersionNeed.MakeWeak(cut, Version), Throws.TypeOf<InvalidDataException>(), $"{length} bytes");
        }
    }

    private static byte[] ReadLibrary()
    {
        string? path = TorchLoader.Find("libLibTorchSharp.so");
        if (path is null)
        {
            Assert.Ignore("no libLibTorchSharp.so on this platform");
        }

        return File.ReadAllBytes(path!);
    }
}

// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using NUnit.Framework;
using TorchSharp;

namespace HiMo.Kernels.Tests.Interop;

/// <summary>This process is <c>dotnet test</c>.</summary>
internal sealed class TorchLoaderTests
{
    [Test]
    public void Torch_computes_in_the_test_process()
    {
        using torch.Tensor sum = torch.ones(3).sum();
        Assert.That(sum.item<float>(), Is.EqualTo(3f));
        Assert.That(TorchLoader.EnsureLoaded, Throws.Nothing);
    }

    [Test]
    public void The_copy_is_made_only_for_an_old_libstdcxx()
    {
        TorchLoader.EnsureLoaded();
        Assert.That(TorchLoader.UsedWeakCopy, Is.EqualTo(OperatingSystem.IsLinux() && !SystemLibraryHasNewestVersion()));
    }

    private static bool SystemLibraryHasNewestVersion()
    {
        string path = File.ReadLines("/proc/self/maps").First(line => line.Contains("/libstdc++.so", StringComparison.Ordinal));
        byte[] library = File.ReadAllBytes(path[path.IndexOf('/', StringComparison.Ordinal)..]);
        return library.AsSpan().IndexOf("GLIBCXX_3.4.32\0"u8) >= 0;
    }
}

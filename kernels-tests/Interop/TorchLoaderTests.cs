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

    /// <summary>Processes of their own: libtorch is loaded once in each.</summary>
    [Test, Platform("Linux")]
    public void Another_libtorch_is_taken_only_if_it_is_one()
    {
        string folder = Directory.CreateTempSubdirectory("himo libtorch ").FullName;
        try
        {
            string lib = Directory.CreateDirectory(Path.Combine(folder, "lib")).FullName, package = Path.GetDirectoryName(TorchLoader.Find("libtorch_cpu.so"))!;
            Assert.That(Doctor(lib), Does.Contain($"HIMO_LIBTORCH is {lib}, where there is no libtorch.so").And.Contain("-> unset HIMO_LIBTORCH"));
            foreach (string name in Directory.GetFiles(package).Select(path => Path.GetFileName(path)).Where(name => name != "libtorch_cpu.so"))
            {
                File.CreateSymbolicLink(Path.Combine(lib, name), Path.Combine(package, name));
            }

            Assert.That(Doctor(lib), Does.Match(@"lacks \d{3,4} symbols that TorchSharp needs, _Z\w+ among them\. Use one of version 2\.10"));
            File.CreateSymbolicLink(Path.Combine(lib, "libtorch_cpu.so"), Path.Combine(package, "libtorch_cpu.so"));
            File.WriteAllText(Path.Combine(folder, "version.py"), "__version__ = '2.10.0+test'\n");
            Assert.That(Doctor(lib), Does.Contain($"ok  libtorch         2.10.0+test in {lib}, "));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        static string Doctor(string libtorch) => HimoProgram.Run(["doctor"], environment: ("HIMO_LIBTORCH", libtorch)).Output;
    }

    private static bool SystemLibraryHasNewestVersion()
    {
        string path = File.ReadLines("/proc/self/maps").First(line => line.Contains("/libstdc++.so", StringComparison.Ordinal));
        byte[] library = File.ReadAllBytes(path[path.IndexOf('/', StringComparison.Ordinal)..]);
        return library.AsSpan().IndexOf("GLIBCXX_3.4.32\0"u8) >= 0;
    }
}

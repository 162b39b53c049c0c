// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

[TestFixture]
internal sealed class PtxCacheTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Path.Combine(Directory.CreateTempSubdirectory("himo-ptx-").FullName, "made", "later");

    [TearDown]
    public void DeleteFolder() => Directory.Delete(Path.GetDirectoryName(Path.GetDirectoryName(_folder))!, recursive: true);

    [Test]
    public void A_kernel_is_compiled_once_and_has_the_same_text_for_ever()
    {
        PtxCache cache = new(_folder);
        Delegate kernel = RowConversion.Kernel<float, float, Float32Stored, Float32Stored>;
        PTXCompiledKernel first = Compile(cache);
        string[] files = Directory.GetFiles(_folder);
        PTXCompiledKernel second = Compile(cache);
        Assert.Multiple(() =>
        {
            Assert.That(files, Has.Length.EqualTo(1));
            Assert.That(files[0], Does.EndWith(".ptx"), "no temporary file is left");
            Assert.That(Directory.GetFiles(_folder), Is.EqualTo(files));
            Assert.That(second.PTXAssembly, Is.EqualTo(first.PTXAssembly).And.Contains(".maxntid 128").And.Contains($".entry {second.Name}"));
            Assert.That(File.ReadAllText(files[0]), Does.EndWith(first.PTXAssembly).And.Contain("ilgpu 1.5.3"));
        });

        PTXCompiledKernel Compile(PtxCache from)
        {
            using Context context = Context.Create(builder => builder.Optimize(OptimizationLevel.O1).EnableAlgorithms().HiMoIntrinsics());
            using PTXBackend backend = new(context, CudaArchitecture.SM_90, CudaInstructionSet.ISA_84, nvvmAPI: null!);
            return CudaKernels.Compile(backend, kernel.Method, 128, null, from);
        }
    }

    [Test]
    public void What_does_not_agree_is_compiled_anew()
    {
        PtxCache cache = new(_folder);
        int compiled = 0;
        string Get(string key) => cache.Get(key, () => $"text {++compiled}\nof two lines\n");

        Assert.That(Get("a"), Is.EqualTo(Get("a")), "kept");
        Assert.That((Get("b"), compiled), Is.EqualTo(("text 2\nof two lines\n", 2)), "another key");
        string file = Directory.GetFiles(_folder).Single(path => File.ReadAllText(path).Contains("text 1"));
        string whole = File.ReadAllText(file);
        foreach (string damaged in new[] { "", whole[..^3], whole.Replace("text 1", "text 9"), whole.Replace("\na\n", "\nc\n"), "himo ptx 0" + whole[10..] })
        {
            File.WriteAllText(file, damaged);
            int before = compiled;
            Assert.That((Get("a"), compiled), Is.EqualTo(($"text {before + 1}\nof two lines\n", before + 1)), damaged);
            Assert.That((Get("a"), compiled), Is.EqualTo(($"text {before + 1}\nof two lines\n", before + 1)), "repaired");
        }
    }

    [Test]
    public void A_folder_that_cannot_be_written_costs_only_time()
    {
        _ = Directory.CreateDirectory(Path.GetDirectoryName(_folder)!);
        File.WriteAllText(_folder, "a file where the folder should be");
        int compiled = 0;
        PtxCache cache = new(_folder);
        Assert.That(cache.Get("a", () => $"{++compiled}"), Is.EqualTo("1"));
        Assert.That(cache.Get("a", () => $"{++compiled}"), Is.EqualTo("2"));
    }

    [Test]
    public void Keys_tell_kernels_group_sizes_and_targets_apart()
    {
        Delegate product = GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, StrictPrecision>;
        Delegate rounded = GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, LargeTile, Tf32Precision>;
        Delegate small = GpuGemm.Kernel<StridedMatrix, StridedMatrix, StridedMatrix, SmallTile, Tf32Precision>;
        string[] keys =
        [
            PtxCache.KeyOf(product.Method, 128, "SM_80 8.4"), PtxCache.KeyOf(rounded.Method, 128, "SM_80 8.4"), PtxCache.KeyOf(product.Method, 256, "SM_80 8.4"),
            PtxCache.KeyOf(small.Method, 128, "SM_80 8.4"), PtxCache.KeyOf(product.Method, 128, "SM_90 8.4"), PtxCache.KeyOf(product.Method, 128, "SM_80 8.8"),
        ];
        Assert.That(keys, Is.Unique);
        Assert.That(keys[0], Does.Contain($" of {PtxCache.SourcesOf(typeof(GpuGemm).Module)} "));
    }
}

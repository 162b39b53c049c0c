// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.IO.Compression;
using System.Text.Json.Nodes;
using HiMo.Trainer;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Devices;

/// <summary>Kernels that were compiled ahead: found by what they are made of, used instead of ILGPU, and embedded by builds of the same sources.</summary>
[TestFixture]
internal sealed class PtxArchiveTests
{
    private static readonly Delegate s_kernel = RowConversion.Kernel<float, float, Float32Stored, Float32Stored>;
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("himo-ahead-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_kernel_is_found_by_its_group_size_and_not_compiled_again()
    {
        using MemoryStream zip = WriteOne();
        PtxArchive archive = new(zip);
        PtxCache cache = new(Path.Combine(_folder, "cache"));
        string? ptx = archive.Find(s_kernel.Method, 128);
        using Context context = Context.Create(Gpu.Configure);
        using PTXBackend backend = new(context, CudaArchitecture.SM_90, CudaInstructionSet.ISA_88, nvvmAPI: null!);
        PTXCompiledKernel kernel = CudaKernels.Compile(backend, s_kernel.Method, 128, archive, cache);
        Assert.Multiple(() =>
        {
            Assert.That(ptx, Does.Contain(".maxntid 128").And.Contains(".target sm_80").And.Contains(".version 8.4"));
            Assert.That(archive.Find(s_kernel.Method, 64), Is.Null);
            Assert.That(kernel.PTXAssembly, Is.EqualTo(ptx));
            Assert.That(Directory.Exists(cache.Folder), Is.False, "nothing was compiled");
        });
    }

    [Test]
    public void A_driver_that_does_not_know_the_instruction_set_gets_its_own()
    {
        using MemoryStream zip = WriteOne();
        using Context context = Context.Create(Gpu.Configure);
        using PTXBackend backend = new(context, CudaArchitecture.SM_80, CudaInstructionSet.ISA_80, nvvmAPI: null!);
        PTXCompiledKernel kernel = CudaKernels.Compile(backend, s_kernel.Method, 128, new PtxArchive(zip), new PtxCache(_folder));
        Assert.That(kernel.PTXAssembly, Does.Contain(".version 8.0"));
    }

    [Test]
    public void What_does_not_agree_with_its_key_is_not_used()
    {
        using MemoryStream zip = WriteOne();
        string whole;
        using (ZipArchive changed = new(zip, ZipArchiveMode.Update, leaveOpen: true))
        {
            ZipArchiveEntry entry = changed.Entries.Single();
            using (StreamReader reader = new(entry.Open()))
            {
                whole = reader.ReadToEnd();
            }

            string name = entry.FullName;
            entry.Delete();
            using StreamWriter writer = new(changed.CreateEntry(name).Open());
            writer.Write(whole.Replace(".maxntid 128", ".maxntid 256", StringComparison.Ordinal));
        }

        Assert.That(new PtxArchive(zip).Find(s_kernel.Method, 128), Is.Null);
    }

    [Test]
    public void Precompile_writes_what_a_step_launches()
    {
        MatrixShape shape = new(2, 3);
        GpuStepSettings settings = new() { Precision = GpuPrecision.Tf32, LargestGroupProblem = 2 };
        string file = Path.Combine(_folder, "made", "kernels.zip");
        using StringWriter progress = new();
        using KernelInventory inventory = new();
        inventory.Add(shape, new MoLoOptions(), settings);
        LaunchEntry launch = inventory.Kernels["L2NormalizeGpu.Kernel"];
        inventory.Kernels.Clear();
        inventory.Kernels.Add(launch.Name, launch);

        int count = PrecompileCommand.Run(file, inventory, progress, CancellationToken.None);

        using FileStream written = File.OpenRead(file);
        Assert.Multiple(() =>
        {
            Assert.That(count, Is.EqualTo(1));
            Assert.That(progress.ToString(), Does.StartWith("1/1 kernels"));
            Assert.That(new PtxArchive(written).Find(launch.Kernel, launch.Threads), Does.Contain(".entry"));
            Assert.That(
                () => PrecompileCommand.Run(Path.Combine(_folder, "other.zip"), inventory, progress, new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());
            Assert.That(Directory.GetFiles(_folder), Is.Empty, "nothing is half-written");
        });
    }

    [Test]
    public void A_build_embeds_the_archive_of_its_sources_and_no_other()
    {
        File.WriteAllText(Path.Combine(_folder, $"HiMo.Kernels.{new string('0', 64)}.ptx.zip"), "of other sources");
        Assert.That(Embedded(), Is.Empty);
        string file = Path.Combine(_folder, PtxArchive.FileName);
        File.WriteAllText(file, "of these");
        Assert.That(Embedded(), Is.EqualTo(new[] { (file, "HiMo.Kernels.ptx.zip") }));
    }

    private static MemoryStream WriteOne()
    {
        MemoryStream zip = new();
        PtxArchive.Write(zip, [new LaunchEntry(s_kernel.Method, new Index3D(1, 1, 1), 128, 0, 0)], _ => { });
        return zip;
    }

    private List<(string File, string Name)> Embedded()
    {
        ProcessStartInfo start = new(
            Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal) ? Environment.ProcessPath : "dotnet",
            ["msbuild", Path.Combine(TestData.RepositoryRoot, "src", "HiMo.Kernels"), "-p:Configuration=Release", "-t:EmbedKernels", "-getItem:EmbeddedResource", $"-p:KernelArchives={_folder}/"])
        {
            RedirectStandardOutput = true,
        };
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, output);
        return [.. JsonNode.Parse(output)!["Items"]!["EmbeddedResource"]!.AsArray().Select(item => ((string)item!["Identity"]!, (string)item["LogicalName"]!))];
    }
}

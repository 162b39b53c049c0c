// SPDX-License-Identifier: Apache-2.0
// PTX that was made ahead, on a machine that needs no GPU, and is embedded in this assembly: without it a GPU's first step waits for ILGPU to compile a
// dozen kernels or two. 'himo precompile' writes the archive, the next build of the same sources embeds it.
// Target     the oldest one there is, sm_80, which the driver assembles for every later one too; kernels that are for Hopper name it themselves.
// File       a zip of what PtxCache keeps in a folder: keyed and verified alike. What is not in it is compiled as ever.
using System.IO.Compression;
using System.Reflection;
using System.Text;
using ILGPU;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

/// <summary>A zip of PTX.</summary>
/// <param name="zip">Read while this lives.</param>
internal sealed class PtxArchive(Stream zip)
{
    private const string Resource = "HiMo.Kernels.ptx.zip";

    private static readonly Lazy<PtxArchive?> s_embedded = new(() => typeof(PtxArchive).Assembly.GetManifestResourceStream(Resource) is Stream zip ? new PtxArchive(zip) : null);

    private readonly ZipArchive _zip = new(zip, ZipArchiveMode.Read);
    private readonly Lock _lock = new();

    /// <summary>This assembly's, or null if it was built without.</summary>
    public static PtxArchive? Embedded => s_embedded.Value;

    /// <summary>Of the PTX: what the driver of CUDA 12.4 knows.</summary>
    public static CudaInstructionSet InstructionSet => CudaInstructionSet.ISA_84;

    /// <summary>A name for the archive of these sources; the build looks for it.</summary>
    public static string FileName => $"HiMo.Kernels.{PtxCache.SourcesOf(typeof(PtxArchive).Module)}.ptx.zip";

    /// <summary>A kernel's PTX, or null.</summary>
    public string? Find(MethodInfo kernel, int threads)
    {
        string key = KeyOf(kernel, threads);
        lock (_lock)
        {
            if (_zip.GetEntry(PtxCache.NameOf(key)) is not ZipArchiveEntry entry)
            {
                return null;
            }

            using StreamReader reader = new(entry.Open(), Encoding.UTF8);
            return PtxCache.Unseal(key, reader.ReadToEnd());
        }
    }

    /// <summary>Compiles kernels on all processors and writes them.</summary>
    /// <param name="target">Receives the zip.</param>
    /// <param name="launches">One launch of each kernel, as <see cref="KernelInventory"/> finds them.</param>
    /// <param name="compiled">Is told of each that is done.</param>
    public static void Write(Stream target, IEnumerable<LaunchEntry> launches, Action<LaunchEntry> compiled)
    {
        using ZipArchive zip = new(target, ZipArchiveMode.Create, leaveOpen: true);
        foreach ((LaunchEntry launch, string ptx) in launches.AsParallel().AsOrdered().WithMergeOptions(ParallelMergeOptions.NotBuffered)
            .Select(launch => (launch, Compile(launch.Kernel, launch.Threads))))
        {
            string key = KeyOf(launch.Kernel, launch.Threads);
            using StreamWriter writer = new(zip.CreateEntry(PtxCache.NameOf(key), CompressionLevel.SmallestSize).Open());
            writer.Write(PtxCache.Seal(key, ptx));
            compiled(launch);
        }
    }

    /// <summary>A kernel's PTX, made without a GPU.</summary>
    /// <param name="kernel">A static method, explicitly grouped; generic ones closed.</param>
    /// <param name="threads">Threads of a group; becomes .maxntid.</param>
    public static string Compile(MethodInfo kernel, int threads)
    {
        using Context context = Context.Create(Gpu.Configure); // one for each kernel: in a used one the same kernel gets other text
        using PTXBackend backend = new(context, CudaArchitecture.SM_80, InstructionSet, nvvmAPI: null!);
        return CudaKernels.Retarget(((PTXCompiledKernel)backend.Compile(
            EntryPointDescription.FromExplicitlyGroupedKernel(kernel), CudaKernels.Specialize(kernel, threads))).PTXAssembly);
    }

    private static string KeyOf(MethodInfo kernel, int threads) => PtxCache.KeyOf(kernel, threads, $"ahead {InstructionSet}");
}

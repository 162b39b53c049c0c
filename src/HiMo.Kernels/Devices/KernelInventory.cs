// SPDX-License-Identifier: Apache-2.0
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>The kernels that steps, HiDe, the dual loss and conversions launch, found out by devices that only record.</summary>
internal sealed class KernelInventory : IDisposable
{
    // One group at a time, many at a time, as on a GPU, few (three and six: small tiles that every multiprocessor has more than one of), one without shared memory for an
    // eigenproblem's rows, and one with clusters.
    private readonly Gpu[] _devices =
    [
        Gpu.OpenEmulated(warps: 16, onlyRecords: true), Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132),
        Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 3), Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 6),
        Gpu.OpenEmulated(warps: 16, onlyRecords: true, sharedBytes: 0), Gpu.OpenEmulated(warps: 16, onlyRecords: true, multiprocessors: 132, mostOfCluster: 2),
    ];

    /// <summary>One launch of each kernel, that with the most shared memory, by its name.</summary>
    public SortedDictionary<string, LaunchEntry> Kernels { get; } = new(StringComparer.Ordinal);

    /// <summary>Shapes, options and settings that launch every kernel there is.</summary>
    public static IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> Few() =>
        Combinations(
            [(new(4, 8), EigenSymmetricGpu.MaxSize), (new(8, 4), 2), (new(1030, 4), 2), (new(40, 64), EigenSymmetricGpu.MaxSize), (new(64, 40), 2), (new(100, 96), 2), (new(129, 130), EigenSymmetricGpu.MaxSize),
                (new(180, 192), EigenSymmetricGpu.MaxSize)],
            gather: [true], weights: [(1.0, 1.0)], groups: 1); // the first, the fourth and the last but one in one group's eigensystems, in registers and not; the third with a depth in parts; the last with A by itself

    /// <summary>Many more, among them real ones.</summary>
    public static IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> Many()
    {
        MatrixShape[] shapes = [new(1, 1), new(1, 768), new(2, 1), new(70, 64), new(128, 768), new(150, 768), new(300, 768), new(1100, 100), new(8192, 768)];
        return Combinations([.. shapes.Select(shape => (shape, EigenSymmetricGpu.MaxSize))], gather: [true, false], weights: [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)], groups: 2);
    }

    /// <summary>Real shapes, then those that launch what is left.</summary>
    public static IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> All() => Many().Concat(Few());

    /// <summary>What some configurations and the faces launch.</summary>
    public static KernelInventory Of(IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> configurations)
    {
        KernelInventory inventory = new();
        foreach ((MatrixShape shape, MoLoOptions options, GpuStepSettings settings) in configurations)
        {
            inventory.Add(shape, options, settings);
        }

        inventory.AddFaces();
        return inventory;
    }

    /// <summary>Adds what a configuration launches, on every device.</summary>
    public void Add(MatrixShape shape, MoLoOptions options, GpuStepSettings settings)
    {
        foreach (Gpu gpu in _devices)
        {
            using TrainingStepGpu step = new(gpu, shape, options, settings);
            ArrayView<float> view = gpu.PretendMemory(settings.Groups * (shape.Length + StepSummary.Length) * sizeof(float)).Cast<float>();
            step.Run(gpu.Accelerator.DefaultStream, new StepBuffers<float>
            {
                Images = view, Texts = view, LogitScale = view, GradImages = view, GradTexts = view, Summary = view,
            });
            using HiDeGpu hide = new(shape, settings.Groups, 0.9, options.BasisGradient, settings);
            hide.TakeMemory(gpu);
            hide.Forward(gpu.Accelerator.DefaultStream, view, view);
            hide.Backward(gpu.Accelerator.DefaultStream, view, view, view);
            Keep(gpu);
        }
    }

    /// <summary>Adds the dual loss of gathered rows, and conversions from and to every stored type.</summary>
    public void AddFaces()
    {
        const int Rows = 2, Gathered = 5, Width = 3;
        foreach ((MatrixShape _, MoLoOptions options, GpuStepSettings settings) in Few())
        {
            foreach (Gpu gpu in _devices)
            {
                using MoLoGpu molo = new(gpu, new MatrixShape(Rows, Width), Gathered, 1, options, settings);
                using MemoryBuffer1D<float, Stride1D.Dense> memory = gpu.Allocate<float>(Gathered * Width);
                ArrayView<float> view = memory.View.BaseView;
                MoLoGpuFeatures all = new() { Images = view, Texts = view, ComponentImages = view, ComponentTexts = view };
                molo.Run(gpu.Accelerator.DefaultStream, new MoLoGpuBuffers
                {
                    Local = all, Gathered = all, LogitScale = view, GradLocal = all, GradGathered = all, Summary = view,
                });
                Keep(gpu);
            }
        }

        foreach (GpuElement element in Enum.GetValues<GpuElement>())
        {
            Gpu gpu = _devices[0];
            ArrayView<byte> view = gpu.PretendMemory(Rows * Width * sizeof(float));
            GpuMatrix matrix = new(view, element, Rows, Width, Width);
            RowConversion.ToDense(gpu, gpu.Accelerator.DefaultStream, matrix, view.Cast<float>());
            RowConversion.FromDense(gpu, gpu.Accelerator.DefaultStream, view.Cast<float>(), matrix);
            L2NormalizeGpu.RunStored(new BatchStream(gpu, gpu.Accelerator.DefaultStream, 1), matrix, matrix, new L2NormalizeArguments { TotalRows = 1 });
            Keep(gpu);
        }
    }

    public void Dispose() => Array.ForEach(_devices, gpu => gpu.Dispose());

    private void Keep(Gpu gpu)
    {
        foreach (LaunchEntry launch in gpu.Log.Launches)
        {
            if (!Kernels.TryAdd(launch.Name, launch) && Kernels[launch.Name].SharedLength < launch.SharedLength)
            {
                Kernels[launch.Name] = launch; // the one that occupies most
            }
        }

        gpu.Log.Reset();
    }

    private static IEnumerable<(MatrixShape Shape, MoLoOptions Options, GpuStepSettings Settings)> Combinations(
        (MatrixShape Shape, int Largest)[] shapes, bool[] gather, (double Global, double Component)[] weights, int groups) =>
        from size in shapes
        from basis in Enum.GetValues<BasisGradient>()
        from components in Enum.GetValues<ComponentSource>()
        from normalization in Enum.GetValues<ComponentNormalization>()
        from gathers in gather
        from weight in weights
        from precision in Enum.GetValues<GpuPrecision>()
        from warpgroups in precision == GpuPrecision.Bf16 ? new[] { true, false } : [false]
        select (
            size.Shape,
            new MoLoOptions
            {
                BasisGradient = basis, Components = components, ComponentNormalization = normalization, GatherWithGrad = gathers, GlobalWeight = weight.Global, Lambda = weight.Component,
            },
            new GpuStepSettings { Precision = precision, LargestGroupProblem = size.Largest, Warpgroups = warpgroups, Groups = groups });
}

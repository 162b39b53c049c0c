// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using ILGPU;
using ILGPU.Runtime;

namespace HiMo.Trainer;

/// <summary>What a GPU is timed or priced with.</summary>
/// <param name="Text">N,D[,precision[,groups]] for the training step, N,D,hide[,groups] for HiDe forward and backward.</param>
/// <param name="Shape">N x d of each group.</param>
/// <param name="Settings">Precision and groups.</param>
/// <param name="IsHiDe">HiDe alone.</param>
internal sealed record GpuCase(string Text, MatrixShape Shape, GpuStepSettings Settings, bool IsHiDe)
{
    /// <summary>Reads <see cref="Text"/>.</summary>
    /// <exception cref="UserError">It is not of that form.</exception>
    public static GpuCase Parse(string text)
    {
        string[] parts = text.Split(',');
        GpuPrecision precision = GpuPrecision.Strict;
        int groups = 1;
        bool isHiDe = parts.Length > 2 && parts[2].Equals("hide", StringComparison.OrdinalIgnoreCase);
        return parts.Length is >= 2 and <= 4 && int.TryParse(parts[0], out int rows) && int.TryParse(parts[1], out int columns) && rows > 0 && columns > 0
            && (parts.Length < 3 || isHiDe || Enum.TryParse(parts[2], ignoreCase: true, out precision))
            && (parts.Length < 4 || (int.TryParse(parts[3], out groups) && groups > 0))
            ? new GpuCase(text, new MatrixShape(rows, columns), new GpuStepSettings { Precision = precision, Groups = groups }, isHiDe)
            : throw new UserError($"--case is {text}; it must be N,D or N,D,strict|tf32|bf16 or N,D,precision,GROUPS or N,D,hide[,GROUPS]");
    }

    /// <summary>What is to be timed, on a device.</summary>
    public GpuWorkload Create(Gpu gpu) => IsHiDe ? new HiDeWorkload(gpu, Shape, Settings) : new StepWorkload(gpu, Shape, Settings);

    /// <summary>The launches of one run on an H100 or H200, in order, from a device that only writes them down.</summary>
    public List<LaunchEntry> Launches()
    {
        using Gpu gpu = Gpu.OpenEmulated(warps: 32, onlyRecords: true, GpuModel.Multiprocessors, mostOfCluster: Gpu.LargestCluster);
        AcceleratorStream stream = gpu.Accelerator.DefaultStream;
        ArrayView<float> features = gpu.PretendMemory(Settings.Groups * Shape.Length * sizeof(float)).Cast<float>();
        if (IsHiDe)
        {
            MoLoOptions options = new();
            using HiDeGpu hide = new(Shape, Settings.Groups, options.Tau, options.BasisGradient, Settings);
            hide.TakeMemory(gpu);
            hide.Forward(stream, features, features);
            hide.Backward(stream, features, features, features);
        }
        else
        {
            ArrayView<float> numbers = gpu.PretendMemory(Settings.Groups * StepSummary.Length * sizeof(float)).Cast<float>();
            using TrainingStepGpu step = new(gpu, Shape, new MoLoOptions(), Settings);
            step.Run(stream, new StepBuffers<float>
            {
                Images = features, Texts = features, LogitScale = numbers, GradImages = features, GradTexts = features, Summary = numbers,
            });
        }

        return [.. gpu.Log.Launches];
    }
}

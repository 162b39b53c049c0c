// SPDX-License-Identifier: Apache-2.0
// The loss of tensors in device memory: used where they lie, on libtorch's current stream, without waiting for it.
// State      Run on an H200 with the libtorch of Python's torch 2.11.0+cu130: MoLoLossCudaTests. Other tests put ILGPU's emulation in the
//            place of the device, with the tensors in the process's memory: all but the opening of the device and the stream is the same code.
//            The loss of a rank has met the emulation only; its kernels have run there (MoLoGpuTests).
using HiMo.Kernels;
using ILGPU.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

public sealed partial class MoLoLoss
{
    private const int IdleSteps = 8;
    private const int IdleRanks = 64;

    private readonly Gpu? _emulated;
    private readonly Lazy<TrainingStep> _deviceStep;
    private readonly Lazy<MoLo> _deviceMoLo;
    private readonly DevicePool<MatrixShape, GpuWorkspace> _stepWorkspaces = new(IdleSteps);
    private readonly DevicePool<(MatrixShape Local, int GatheredRows, int TargetOffset), MoLoGpuWorkspace> _rankWorkspaces = new(IdleRanks);

    /// <summary>A loss that takes CPU tensors for tensors of an emulated device.</summary>
    internal MoLoLoss(MoLoOptions options, Gpu emulated, GpuPrecision precision = GpuPrecision.Strict)
        : this(options, threads: 1, precision) =>
        _emulated = emulated;

    private Tensor ForwardOnDevice(Tensor images, Tensor texts, Tensor logitScale)
    {
        Features.CheckDevice(texts, images.device);
        Features.CheckDevice(logitScale, images.device);
        Features.CheckOneElement(logitScale);
        (Gpu gpu, AcceleratorStream stream) = TorchStream.Of(images, _emulated);
        using DisposeScope scope = NewDisposeScope();
        bool recording = is_grad_enabled();
        bool imagesNeed = recording && images.requires_grad, textsNeed = recording && texts.requires_grad;
        bool scaleNeeds = recording && logitScale.requires_grad;
        Tensor imageRows = TensorMemory.RowsOnDevice(images), textRows = TensorMemory.RowsOnDevice(texts);
        Tensor scale = TensorMemory.RowMajorFloat32(logitScale);
        Tensor? gradImages = imagesNeed ? NewGradient(images) : null, gradTexts = textsNeed ? NewGradient(texts) : null;
        Tensor numbers = empty(GpuWorkspace.ResultLength, ScalarType.Float32, images.device);
        MatrixShape shape = new((int)images.size(0), (int)images.size(1));
        _stepWorkspaces.Use(stream, shape, () => _deviceStep.Value.CreateWorkspace(gpu, shape, _precision), workspace =>
        {
            _deviceStep.Value.Run(
                TensorMemory.Wrap(gpu, imageRows, shape), TensorMemory.Wrap(gpu, textRows, shape), TensorMemory.Wrap(gpu, scale, new MatrixShape(1, 1)),
                TensorMemory.Wrap(gpu, gradImages, shape), TensorMemory.Wrap(gpu, gradTexts, shape), workspace, stream);
            workspace.CopyResult(stream, TensorMemory.Wrap(gpu, numbers, new MatrixShape(1, GpuWorkspace.ResultLength)));
        });

        using IDisposable constant = no_grad();
        Tensor loss = Loss(numbers, images.dtype);
        Tensor? gradScale = scaleNeeds ? GradLogitScale(numbers, logitScale) : null;
        Keep(numbers, gpu, $"MoLoLoss with {shape} features", values =>
        {
            MoLoResult result = GpuWorkspace.ToResult(values, _options, shape);
            _warnings.Tell(result.Warnings, Math.Max(result.M, result.MImage), result.RelativeGap, _options.Tau);
            return result;
        });
        if (!imagesNeed && !textsNeed && !scaleNeeds)
        {
            return loss.MoveToOuterDisposeScope();
        }

        using IDisposable recorded = enable_grad();
        return MoLoFunction.Link([Relay(images), Relay(texts), logitScale], loss, [gradImages, gradTexts, gradScale]).MoveToOuterDisposeScope();
    }

    /// <summary>The loss of one rank; all operands are on the device of its images.</summary>
    private Tensor ForwardRankOnDevice(Operand[] operands, int targetOffset, Tensor logitScale, bool scaleNeeds)
    {
        Tensor images = operands[0].Tensor!;
        (Gpu gpu, AcceleratorStream stream) = TorchStream.Of(images, _emulated);
        Tensor scale = TensorMemory.RowMajorFloat32(logitScale), numbers = empty(GpuWorkspace.ResultLength, ScalarType.Float32, images.device);
        MatrixShape shape = new((int)images.size(0), (int)images.size(1));
        int gatheredRows = (int)operands[4].Tensor!.size(0);
        MoLo molo = _deviceMoLo.Value;
        _rankWorkspaces.Use(stream, (shape, gatheredRows, targetOffset), () => molo.CreateWorkspace(gpu, shape, gatheredRows, targetOffset, _precision), workspace =>
        {
            molo.Run(
                Matrices(operands.AsSpan(0, 4), operand => operand.Read(gpu)), Matrices(operands.AsSpan(4), operand => operand.Read(gpu)),
                TensorMemory.Wrap(gpu, scale, new MatrixShape(1, 1)),
                Matrices(operands.AsSpan(0, 4), operand => operand.Write(gpu)), Matrices(operands.AsSpan(4), operand => operand.Write(gpu)), workspace, stream);
            workspace.CopyResult(stream, TensorMemory.Wrap(gpu, numbers, new MatrixShape(1, GpuWorkspace.ResultLength)));
        });
        GC.KeepAlive(operands);

        using IDisposable constant = no_grad();
        Tensor loss = Loss(numbers, images.dtype);
        Tensor? gradScale = scaleNeeds ? GradLogitScale(numbers, logitScale) : null;
        Keep(numbers, gpu, $"MoLoLoss with {shape} of {gatheredRows} features", values => MoLoGpuWorkspace.ToResult(values));
        using IDisposable recorded = enable_grad();
        return Link(operands, loss, logitScale, gradScale);
    }

    private static MoLoGpuMatrices Matrices(ReadOnlySpan<Operand> four, Func<Operand, GpuMatrix> view) =>
        new() { Images = view(four[0]), Texts = view(four[1]), ComponentImages = view(four[2]), ComponentTexts = view(four[3]) };

    private static Tensor Loss(Tensor numbers, ScalarType type) =>
        Number(numbers, GpuWorkspace.ResultLoss).to(type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);

    private static Tensor GradLogitScale(Tensor numbers, Tensor logitScale) => Number(numbers, GpuWorkspace.ResultGradLogitScale).reshape(logitScale.shape);

    /// <summary>A copy: the numbers may be freed first.</summary>
    private static Tensor Number(Tensor numbers, int index) => numbers.narrow(0, index, 1).reshape([]).clone();

    private void Keep(Tensor numbers, Gpu gpu, string call, Func<float[], MoLoResult> read)
    {
        _last?.OnDevice?.Forget();
        _last = new Evaluation(default, [], new DeviceResult<MoLoResult>(numbers.DetachFromDisposeScope(), gpu, call, read));
    }
}

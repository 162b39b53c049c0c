// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

public sealed partial class MoLoLoss
{
    /// <summary>
    /// The loss of one rank out of several: its B rows against the N rows gathered from all ranks, in both directions, the target of
    /// local row i being gathered row <paramref name="targetOffset"/> + i. The caller brings the gather: normalise, run
    /// <see cref="HiDeComponents"/> on the own texts, gather unit images, unit texts and u', call this. Every operand that requires
    /// gradient gets it; a gather that hands gradients back to their ranks then gives each row the contributions of all ranks. With
    /// <see cref="MoLoOptions.GatherWithGrad"/> off, gathered operands are constants, as the authors trained. CUDA tensors, all on one device, are used
    /// in place, as in <see cref="forward"/>.
    /// </summary>
    /// <param name="local">B x d operands of this rank.</param>
    /// <param name="gathered">N x d operands of all ranks, the own rows among them.</param>
    /// <param name="targetOffset">From 0 to N - B: rank x B where all ranks have B rows.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the cosines, one element, -100 to 80.</param>
    /// <returns>The loss in nats; it belongs to the caller's dispose scope. <see cref="LastResult"/> has no m, and nothing warns: HiDe ran in
    /// <see cref="HiDeComponents"/>, which does both.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or value is not as described; the message names the argument.</exception>
    public Tensor ForwardRank(RankFeatures local, RankFeatures gathered, int targetOffset, Tensor logitScale)
    {
        ArgumentNullException.ThrowIfNull(local);
        ArgumentNullException.ThrowIfNull(gathered);
        ArgumentNullException.ThrowIfNull(logitScale);
        using DisposeScope scope = NewDisposeScope();
        bool recording = is_grad_enabled();
        Operand[] operands = [.. Operands(local, "local", recording, _emulated), .. Operands(gathered, "gathered", recording && _options.GatherWithGrad, _emulated)];
        bool scaleNeeds = recording && logitScale.requires_grad;
        foreach (Operand operand in operands)
        {
            operand.CheckDevice(local.Images.device);
        }

        if (TorchStream.IsOnDevice(local.Images, _emulated))
        {
            Features.CheckDevice(logitScale, local.Images.device);
            Features.CheckOneElement(logitScale);
            return ForwardRankOnDevice(operands, targetOffset, logitScale, scaleNeeds).MoveToOuterDisposeScope();
        }

        double scale = Features.CheckScalar(logitScale);
        if (scaleNeeds && operands.All(operand => operand.Gradient is null))
        {
            operands[0].ReceiveGradient();      // the logit scale's gradient comes with a backward pass
        }

        MoLoResult result = _ranks.Use(molo => molo.Run(
            Read(operands, 0), Read(operands, 4), targetOffset, scale, Write(operands, 0), Write(operands, 4)));
        GC.KeepAlive(operands);
        _last = new Evaluation(result, [], OnDevice: null);
        Tensor loss = tensor(result.Loss, local.Images.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
        Tensor? gradScale = scaleNeeds ? tensor(result.GradLogitScale, ScalarType.Float64).reshape(logitScale.shape) : null;
        return Link(operands, loss, logitScale, gradScale).MoveToOuterDisposeScope();
    }

    /// <summary>The loss as a function of its operands and the scale; the loss itself where nobody wants a gradient.</summary>
    private static Tensor Link(Operand[] operands, Tensor loss, Tensor logitScale, Tensor? gradScale)
    {
        if (gradScale is null && !operands.Any(operand => operand.IsWanted))
        {
            return loss;
        }

        Operand[] given = [.. operands.Where(operand => operand.Tensor is not null)];
        return MoLoFunction.Link(
            [.. given.Select(operand => operand.Tensor!), logitScale], loss, [.. given.Select(operand => operand.IsWanted ? operand.Gradient : null), gradScale]);
    }

    private static Operand[] Operands(RankFeatures features, string name, bool recording, Gpu? emulated) =>
    [
        new(features.Images, $"{name}.Images", recording, emulated),
        new(features.Texts, $"{name}.Texts", recording, emulated),
        new(features.ComponentImages, $"{name}.ComponentImages", recording, emulated),
        new(features.ComponentTexts, $"{name}.ComponentTexts", recording, emulated),
    ];

    private static MoLoFeatures Read(Operand[] operands, int first) => new()
    {
        Images = operands[first].Read(),
        Texts = operands[first + 1].Read(),
        ComponentImages = operands[first + 2].Read(),
        ComponentTexts = operands[first + 3].Read(),
    };

    private static MoLoGradients Write(Operand[] operands, int first) => new()
    {
        Images = operands[first].Write(),
        Texts = operands[first + 1].Write(),
        ComponentImages = operands[first + 2].Write(),
        ComponentTexts = operands[first + 3].Write(),
    };

    /// <summary>One matrix of <see cref="RankFeatures"/> with the memory of its gradient.</summary>
    private sealed class Operand
    {
        private readonly Tensor? _rows;
        private readonly string _name;

        public Operand(Tensor? tensor, string name, bool recording, Gpu? emulated)
        {
            (Tensor, _name) = (tensor, name);
            if (tensor is not null)
            {
                Features.CheckMatrix(tensor, mayBeOnGpu: true, name);
                _rows = TorchStream.IsOnDevice(tensor, emulated) ? TensorMemory.RowsOnDevice(tensor) : TensorMemory.RowMajorFloat32(tensor);
                IsWanted = recording && tensor.requires_grad;
                if (IsWanted)
                {
                    ReceiveGradient();
                }
            }
        }

        public Tensor? Tensor { get; }

        public bool IsWanted { get; }

        public Tensor? Gradient { get; private set; }

        public void ReceiveGradient() => Gradient = NewGradient(Tensor!);

        public void CheckDevice(Device wanted)
        {
            if (Tensor is not null)
            {
                Features.CheckDevice(Tensor, wanted, _name);
            }
        }

        public ReadOnlyMatrixView Read() => _rows is null ? default : TensorMemory.Read(_rows);

        public MatrixView Write() => Gradient is null ? default : TensorMemory.Write(Gradient);

        public GpuMatrix Read(Gpu gpu) => Wrap(gpu, _rows);

        public GpuMatrix Write(Gpu gpu) => Wrap(gpu, Gradient);

        private GpuMatrix Wrap(Gpu gpu, Tensor? memory) =>
            memory is null ? default : TensorMemory.Wrap(gpu, memory, new MatrixShape((int)memory.size(0), (int)memory.size(1)));
    }
}

// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Interop;

/// <summary>
/// HiMo-CLIP's training objective as a TorchSharp module: loss = global_weight x InfoNCE(images, texts) + lambda x
/// InfoNCE(images, principal components of texts). Loss and gradients are computed together in forward by
/// <see cref="TrainingStep"/>; backward only scales them. Source: HiMo-CLIP (arXiv:2511.06653), equations 1 to 4.
/// </summary>
/// <remarks>
/// <para>Inputs are float32, float64, float16 or bfloat16 with any strides; the arithmetic is float32, gradients
/// come in each input's type, the loss in float32 (float64 if the images are). Row-major float32 is read in place, on a GPU every float32, float16 and
/// bfloat16 matrix whose rows are contiguous, at any distance; others are copied first.</para>
/// <para>The device of the images decides where it runs. CUDA tensors, all three on one device, are used in libtorch's own context, on its
/// current stream, ordered against it and without waiting: values are not looked at there, so NaN in gives NaN out. NotSupportedException names a shape or option that the GPU does not have.</para>
/// <para>Inputs that do not require gradient get none, and it is not computed; under <c>no_grad</c> nothing is kept.
/// One instance may be used by several threads at once.</para>
/// <para>The loss can be differentiated once only: <c>backward(create_graph: true)</c> is an error (an ExternalException of
/// <c>backward</c>; <c>autograd.grad</c> of TorchSharp ends the process at any error of libtorch).</para>
/// <para>Dispose of the loss, or use a dispose scope around the step, as with every tensor: the gradients live as long as it does.</para>
/// </remarks>
/// <example>
/// <code>
/// using torch.Tensor images = torch.randn(32, 64, requires_grad: true); // from an image encoder
/// using torch.Tensor texts = torch.randn(32, 64, requires_grad: true); // from a text encoder
/// using torch.Tensor logitScale = torch.tensor(2.6593f, requires_grad: true); // ln(1 / 0.07)
///
/// using MoLoLoss molo = new(new MoLoOptions { Tau = 0.9, Lambda = 1.0 });
/// using torch.Tensor loss = molo.forward(images, texts, logitScale);
/// loss.backward();
/// Console.WriteLine($"{loss.item&lt;float&gt;()}, of which global {molo.LastResult.Global}, with {molo.LastResult.M} components");
/// </code>
/// </example>
public sealed partial class MoLoLoss : nn.Module<Tensor, Tensor, Tensor, Tensor>
{
    private readonly MoLoOptions _options;
    private readonly GpuPrecision _precision;
    private readonly InstancePool<TrainingStep> _steps;
    private readonly InstancePool<MoLo> _ranks;
    private readonly OneTimeWarnings _warnings = new(nameof(MoLoLoss));
    private volatile Evaluation? _last;

    /// <summary>Prepares the loss.</summary>
    /// <param name="options">Null takes the defaults.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor. The result does not depend on it. A GPU needs none.</param>
    /// <param name="precision">Of the contrastive products on a GPU.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or threads is negative.</exception>
    /// <exception cref="DllNotFoundException">No libtorch was found; the message names the package to reference.</exception>
    public MoLoLoss(MoLoOptions? options = null, int threads = 0, GpuPrecision precision = GpuPrecision.Strict)
        : base(TorchLoader.NameOf<MoLoLoss>())
    {
        _options = options ?? new MoLoOptions();
        _steps = new InstancePool<TrainingStep>(() => new TrainingStep(_options, threads));
        _ranks = new InstancePool<MoLo>(() => new MoLo(_options, threads));
        _precision = precision;
        _deviceStep = new Lazy<TrainingStep>(() => new TrainingStep(_options, threads: 1));
        _deviceMoLo = new Lazy<MoLo>(() => new MoLo(_options, threads: 1));
        _ = _steps.Use(step => step.Spectrum.Length);       // finds values out of range here
    }

    /// <summary>
    /// Raised at most once per kind of warning, with one line of text, for example when the batch is too small for HiDe to drop
    /// anything. Where nobody listens the line goes to standard error.
    /// </summary>
    public event Action<string>? Warning
    {
        add => _warnings.Listeners += value;
        remove => _warnings.Listeners -= value;
    }

    /// <summary>
    /// Raised on the calling thread during a long forward on the CPU, with the share that is done, above 0 to 1; see <see cref="TrainingStep.Progress"/>
    /// for which batches are long. An exception of a handler ends the call.
    /// </summary>
    public event Action<double>? Progress;

    /// <summary>Both branches, m, explained variance and more of the last call; the default before the first. On a GPU, asking waits for it,
    /// and is the moment when <see cref="Warning"/> may be raised.</summary>
    public MoLoResult LastResult => _last is { } last ? last.OnDevice?.Read() ?? last.Result : default;

    /// <summary>Eigenvalues of the last call's centred texts, descending, min(N, d) of them; empty before the first call and on a GPU.</summary>
    public IReadOnlyList<float> LastSpectrum => _last?.Spectrum ?? [];

    /// <summary>The loss of one batch, a scalar.</summary>
    /// <param name="images">N x d image features as the encoder gives them, finite, not normalised.</param>
    /// <param name="texts">N x d text features as the encoder gives them, finite, not normalised.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the cosines, one element, -100 to 80.</param>
    /// <returns>The loss in nats; it belongs to the caller's dispose scope.</returns>
    /// <exception cref="ArgumentException">A shape, type, device or value is not as described; the message names the argument.
    /// NaN and infinity are named with row and column.</exception>
    public override Tensor forward(Tensor images, Tensor texts, Tensor logitScale)
    {
        Features.CheckMatrix(images, mayBeOnGpu: true);
        Features.CheckMatrix(texts, mayBeOnGpu: true);
        if (images.size(0) != texts.size(0) || images.size(1) != texts.size(1))
        {
            throw new ArgumentException(
                $"texts is {Features.Shape(texts)}, images is {Features.Shape(images)}; both must be N x d.", nameof(texts));
        }

        if (TorchStream.IsOnDevice(images, _emulated))
        {
            return ForwardOnDevice(images, texts, logitScale);
        }

        Features.CheckDevice(texts, images.device);
        double scale = Features.CheckScalar(logitScale);
        using DisposeScope scope = NewDisposeScope();
        bool recording = is_grad_enabled();
        bool scaleNeeds = recording && logitScale.requires_grad;
        Tensor? gradTexts = recording && texts.requires_grad ? NewGradient(texts) : null;

        // The logit scale's gradient comes with a backward pass; the cheapest one if no feature needs any.
        bool imagesNeed = recording && images.requires_grad;
        Tensor? gradImages = imagesNeed || (scaleNeeds && gradTexts is null) ? NewGradient(images) : null;

        MoLoResult result = Run(images, texts, scale, gradImages, gradTexts);
        Tensor loss = tensor(result.Loss, images.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
        if (gradImages is null && gradTexts is null)
        {
            return loss.MoveToOuterDisposeScope();
        }

        Tensor? gradScale = scaleNeeds ? tensor(result.GradLogitScale, ScalarType.Float64).reshape(logitScale.shape) : null;
        return MoLoFunction.Link([Relay(images), Relay(texts), logitScale], loss, [imagesNeed ? gradImages : null, gradTexts, gradScale])
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _steps.Dispose();
            _ranks.Dispose();
            _stepWorkspaces.Dispose();
            _rankWorkspaces.Dispose();
            Free(_deviceStep);
            Free(_deviceMoLo);
        }

        base.Dispose(disposing);
    }

    // A leaf takes a gradient over that nobody else refers to, and copies any other with all of OpenMP's threads. TorchSharp refers to what a
    // custom function returned; the view's own backward makes a tensor of the same memory that is the leaf's alone.
    private static Tensor Relay(Tensor input) => input.requires_grad ? input.view(input.shape) : input;

    private static Tensor NewGradient(Tensor like) => empty(like.size(0), like.size(1), ScalarType.Float32, like.device);

    private static void Free<T>(Lazy<T> lazy)
        where T : IDisposable
    {
        if (lazy.IsValueCreated)
        {
            lazy.Value.Dispose();
        }
    }

    private MoLoResult Run(Tensor images, Tensor texts, double scale, Tensor? gradImages, Tensor? gradTexts)
    {
        Tensor imageRows = TensorMemory.RowMajorFloat32(images), textRows = TensorMemory.RowMajorFloat32(texts);
        Action<double>? listeners = Progress;
        return _steps.Use(step =>
        {
            MoLoResult result;
            step.Progress += listeners;
            try
            {
                result = step.Run(
                    TensorMemory.Read(imageRows),
                    TensorMemory.Read(textRows),
                    scale,
                    gradImages is null ? default : TensorMemory.Write(gradImages),
                    gradTexts is null ? default : TensorMemory.Write(gradTexts));
            }
            finally
            {
                step.Progress -= listeners;
            }

            GC.KeepAlive(imageRows);
            GC.KeepAlive(textRows);
            _last = new Evaluation(result, step.Spectrum.ToArray(), OnDevice: null);
            _warnings.Tell(result.Warnings, Math.Max(result.M, result.MImage), result.RelativeGap, _options.Tau);
            return result;
        });
    }

    /// <summary>One object, so that a reader on another thread never sees half of it.</summary>
    private sealed record Evaluation(MoLoResult Result, float[] Spectrum, DeviceResult<MoLoResult>? OnDevice);
}

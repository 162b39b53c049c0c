// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// The whole of HiMo-CLIP's objective on one batch, from raw features to the loss, both feature gradients and the
/// temperature's: L2 normalisation, HiDe (equation 1) and MoLo (equations 2 to 4), in float32 with float64 where sums cancel.
/// Keeps its workspace from call to call, so that only the first call of a shape allocates: about 10 N² floats where N is at most
/// d, about 7 N d otherwise. One instance serves one caller at a time; several callers take one instance each.
/// </summary>
/// <remarks>
/// Finite input gives finite results, whatever its rank. A zero row has gradient 0. Where lambda_m = lambda_{m+1} the kept subspace
/// is not defined and the exact gradient does not exist: a kept and a dropped direction whose eigenvalues lie closer than 2.4e-7
/// lambda_1, float32's accuracy, are held constant against each other. A gradient beyond float32 is clamped to its largest value.
/// Source: HiMo-CLIP (arXiv:2511.06653) and the authors' code, whose conventions the default options follow.
/// </remarks>
/// <example>
/// <code>
/// const int Rows = 16, Width = 16;
/// float[] images = [.. Enumerable.Range(0, Rows * Width).Select(i =&gt; MathF.Sin(i * i))];
/// float[] texts = [.. Enumerable.Range(0, Rows * Width).Select(i =&gt; MathF.Sin((i * i) + 0.3f))];
/// float[] gradImages = new float[Rows * Width];
/// float[] gradTexts = new float[Rows * Width];
///
/// using TrainingStep step = new(new MoLoOptions { Tau = 0.8 });
/// step.Warning += Console.Error.WriteLine; // the library itself prints nothing
/// MoLoResult result = step.Run(
///     new ReadOnlyMatrixView(images, Rows, Width),
///     new ReadOnlyMatrixView(texts, Rows, Width),
///     logitScale: Math.Log(1.0 / 0.07),
///     new MatrixView(gradImages, Rows, Width),
///     new MatrixView(gradTexts, Rows, Width));
/// Console.WriteLine($"loss {result.Loss} = {result.Global} + {result.Component}, m = {result.M}");
/// </code>
/// </example>
public sealed partial class TrainingStep : IDisposable
{
    internal const double MinLogitScale = -100.0;
    internal const double MaxLogitScale = 80.0;
    private const double MinSquare = 1.0 / (1 << 22);     // of a reconstructed row's length under ComponentNormalization.Cosine

    private readonly MoLoOptions _options;
    private readonly WorkerPool _pool;
    private readonly Workspace _workspace = new();
    private readonly PrincipalAxes _axes;
    private readonly TileProgress _progress = new();
    private HiDeWarnings _warned;
    private nint _spectrum;
    private int _spectrumLength;
    private bool _disposed;

    /// <summary>Prepares a step with the given options.</summary>
    /// <param name="options">Validated here.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor. The result does not depend on it, bit for bit.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or threads is negative.</exception>
    public TrainingStep(MoLoOptions options, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Guard.That(threads >= 0, threads, "must be 0 or more");
        _options = options;
        _pool = new WorkerPool(threads);
        _axes = new PrincipalAxes(_pool);
    }

    /// <summary>
    /// Raised when <see cref="MoLoResult.Warnings"/> first shows a kind, so at most once per kind and instance, with one line of text.
    /// The library itself prints nothing.
    /// </summary>
    public event Action<string>? Warning;

    /// <summary>
    /// Raised on the calling thread during a long call, with the share of its tiles of logits that are done, above 0 to 1; not where
    /// N is at most d or all logits fit in one tile (N up to 1024). An exception of a handler ends the call.
    /// </summary>
    public event Action<double>? Progress
    {
        add => _progress.Report += value;
        remove => _progress.Report -= value;
    }

    /// <summary>Eigenvalues of the last run's centred texts, descending, min(N, d) of them (of the images where only those are
    /// reconstructed); empty before the first run and where lambda is 0. Valid until the next run or disposal.</summary>
    public unsafe ReadOnlySpan<float> Spectrum => new((float*)_spectrum, _spectrumLength);

    /// <summary>Floats of workspace that the last run used.</summary>
    internal long WorkspaceFloats => _workspace.Used;

    /// <summary>Loss and gradients of one batch.</summary>
    /// <param name="images">N x d image features as the encoder gives them, finite, not normalised.</param>
    /// <param name="texts">N x d text features as the encoder gives them, finite, not normalised.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the cosines, -100 to 80; CLIP starts at ln(1 / 0.07) and ends near ln 100.</param>
    /// <param name="gradImages">Receives dL/dimages, N x d; empty: not computed. Must overlap neither input.</param>
    /// <param name="gradTexts">Receives dL/dtexts, N x d; empty: not computed. Must overlap neither input.</param>
    /// <returns>Losses of both branches, m, explained variance and the temperature's gradient.</returns>
    /// <exception cref="ArgumentException">Shapes differ, the batch is empty, the logit scale is out of range, or an input holds
    /// NaN or infinity (the message names row and column); nothing was written then.</exception>
    /// <exception cref="ObjectDisposedException">The step has been disposed.</exception>
    public unsafe MoLoResult Run(
        ReadOnlyMatrixView images, ReadOnlyMatrixView texts, double logitScale, MatrixView gradImages, MatrixView gradTexts)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckShapes(images, texts, gradImages, gradTexts);
        Guard.That(logitScale is >= MinLogitScale and <= MaxLogitScale, logitScale, "must be from -100 to 80, a natural logarithm");

        MoLoResult result;
        _spectrumLength = 0;
        _workspace.Reset();
        fixed (float* image = images.Elements, text = texts.Elements, gradImage = gradImages.Elements, gradText = gradTexts.Elements)
        {
            result = Compute(new()
            {
                Images = image,
                Texts = text,
                GradImages = gradImages.IsEmpty ? null : gradImage,
                GradTexts = gradTexts.IsEmpty ? null : gradText,
                Rows = images.Rows,
                Columns = images.Columns,
                Scale = Math.Exp(logitScale),
            });
        }

        Warn(result);
        return result;
    }

    /// <summary>Frees the workspace and ends the worker threads.</summary>
    public void Dispose()
    {
        _disposed = true;
        _spectrumLength = 0;
        _axes.Dispose();
        _workspace.Dispose();
        _pool.Dispose();
    }

    private static void CheckShapes(ReadOnlyMatrixView images, ReadOnlyMatrixView texts, MatrixView gradImages, MatrixView gradTexts)
    {
        if (images.Shape != texts.Shape || images.IsEmpty)
        {
            throw new ArgumentException($"TrainingStep.Run: images is {images.Shape}, texts is {texts.Shape}; both must be N x d, with N and d 1 or more.");
        }

        CheckGradient(gradImages, nameof(gradImages), images, texts);
        CheckGradient(gradTexts, nameof(gradTexts), images, texts);
        if (gradImages.Elements.Overlaps(gradTexts.Elements))
        {
            throw new ArgumentException("TrainingStep.Run: gradImages and gradTexts overlap; each needs memory of its own.");
        }
    }

    private static void CheckGradient(MatrixView grad, string name, ReadOnlyMatrixView images, ReadOnlyMatrixView texts)
    {
        if (grad.IsEmpty)
        {
            return;
        }

        if (grad.Shape != images.Shape)
        {
            throw new ArgumentException($"TrainingStep.Run: {name} is {grad.Shape}; it must be {images.Shape} as images and texts are, or empty.", name);
        }

        if (images.Elements.Overlaps(grad.Elements) || texts.Elements.Overlaps(grad.Elements))
        {
            throw new ArgumentException($"TrainingStep.Run: {name} overlaps an input; it needs memory of its own.", name);
        }
    }

    private void Warn(in MoLoResult result)
    {
        HiDeWarnings added = result.Warnings & ~_warned;
        _warned |= added;
        if (added != HiDeWarnings.None)
        {
            Warning?.Invoke(added.Describe(Math.Max(result.M, result.MImage), result.RelativeGap, _options.Tau));
        }
    }
}

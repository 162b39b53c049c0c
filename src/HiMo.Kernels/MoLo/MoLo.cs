// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// The dual contrastive loss on features that are normalised and decomposed already, B local rows against N gathered ones, so that
/// several ranks can bring their own gather: L = w L_global + lambda L_comp, each branch the mean of a cross entropy of local images
/// against gathered texts and one of local texts against gathered images, with logits exp(logitScale) times the dot products; the
/// target of local row i is gathered row targetOffset + i. Keeps its workspace from call to call. One instance serves one caller at a
/// time. <see cref="TrainingStep"/> does all of it for one process, faster.
/// Source: HiMo-CLIP (arXiv:2511.06653), equations 2 to 4; label smoothing (the paper has none) and the gather as in the authors' code.
/// </summary>
/// <remarks>
/// Rank r of R, with B rows of its own: normalise, run HiDe on the own texts, gather unit images, unit texts and u' of all ranks,
/// and call <see cref="Run(MoLoFeatures, MoLoFeatures, int, double, MoLoGradients, MoLoGradients)"/> with offset r x B. With <see cref="MoLoOptions.GatherWithGrad"/> the gradient of a rank's rows is its
/// local gradient plus the sum over all ranks of their gathered gradients for these rows (a reduce-scatter); without, it is the
/// local one alone. Then go back through <see cref="HiDe.Backward(ReadOnlyMatrixView, ReadOnlyMatrixView, MatrixView)"/> and <see cref="L2Normalize.Backward(ReadOnlyMatrixView, ReadOnlyMatrixView, MatrixView)"/>.
/// </remarks>
/// <example>
/// Two ranks of two rows each in one process; rank 1 is shown.
/// <code>
/// const int Local = 2, Gathered = 4, Width = 8;
/// float[] features = [.. Enumerable.Range(0, 3 * Gathered * Width).Select(i =&gt; MathF.Sin(i * i))];
/// float[] unit = new float[features.Length]; // images, texts, u' of all ranks, one after the other
/// L2Normalize.Forward(new ReadOnlyMatrixView(features, 3 * Gathered, Width), new MatrixView(unit, 3 * Gathered, Width));
/// int size = Gathered * Width, rank = 1;
/// MoLoFeatures gathered = new()
/// {
///     Images = new ReadOnlyMatrixView(unit.AsSpan(0, size), Gathered, Width),
///     Texts = new ReadOnlyMatrixView(unit.AsSpan(size, size), Gathered, Width),
///     ComponentTexts = new ReadOnlyMatrixView(unit.AsSpan(2 * size, size), Gathered, Width),
/// };
/// int start = rank * Local * Width;
/// MoLoFeatures local = new()
/// {
///     Images = new ReadOnlyMatrixView(gathered.Images.Elements[start..], Local, Width),
///     Texts = new ReadOnlyMatrixView(gathered.Texts.Elements[start..], Local, Width),
///     ComponentTexts = new ReadOnlyMatrixView(gathered.ComponentTexts.Elements[start..], Local, Width),
/// };
/// float[] gradImages = new float[Local * Width];
/// float[] gradGatheredTexts = new float[size];
///
/// using MoLo molo = new(new MoLoOptions());
/// MoLoResult result = molo.Run(
///     local,
///     gathered,
///     targetOffset: rank * Local,
///     logitScale: Math.Log(1.0 / 0.07),
///     new MoLoGradients { Images = new MatrixView(gradImages, Local, Width) },
///     new MoLoGradients { Texts = new MatrixView(gradGatheredTexts, Gathered, Width) });
/// Console.WriteLine($"loss {result.Loss}, of which global {result.Global}");
/// </code>
/// </example>
public sealed partial class MoLo : IDisposable
{
    internal const double MinLogitScale = -100.0;
    internal const double MaxLogitScale = 80.0;

    private readonly MoLoOptions _options;
    private readonly MoLoCpu _cpu;
    private bool _isDisposed;

    /// <summary>Prepares a loss with the given options; tau and the basis gradient are HiDe's and not used here.</summary>
    /// <param name="options">Validated here.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor. The result does not depend on it, bit for bit.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or threads is negative.</exception>
    public MoLo(MoLoOptions options, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Guard.That(threads >= 0, threads, "must be 0 or more");
        _options = options;
        _cpu = new MoLoCpu(options, threads);
    }

    /// <summary>Loss and gradients of the local rows against the gathered ones.</summary>
    /// <param name="local">B x d operands of this rank, finite; B >= 1, d >= 1.</param>
    /// <param name="gathered">N x d operands of all ranks, finite, own rows included; N >= B. May be <paramref name="local"/> itself.</param>
    /// <param name="targetOffset">Gathered row that matches local row 0; from 0 to N - B.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the dot products, -100 to 80; CLIP starts at ln(1 / 0.07).</param>
    /// <param name="gradLocal">Receives gradients of the local rows as first operands, B x d each; empty views are not computed.</param>
    /// <param name="gradGathered">Receives gradients of the gathered rows as second operands, N x d each; zeros without
    /// <see cref="MoLoOptions.GatherWithGrad"/>, because they are constants then.</param>
    /// <returns>Losses and the temperature's gradient (0 if no gradient was asked for). What HiDe found is not known here: m and the
    /// explained variance are 0.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, an operand that the options ask for is empty, the offset or the logit scale is
    /// out of range, outputs overlap inputs, or an input holds NaN or infinity (the message names row and column); nothing was
    /// written then.</exception>
    /// <exception cref="ObjectDisposedException">The instance was disposed.</exception>
    public MoLoResult Run(
        MoLoFeatures local, MoLoFeatures gathered, int targetOffset, double logitScale, MoLoGradients gradLocal, MoLoGradients gradGathered)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        MatrixShape localShape = local.Images.Shape;
        MatrixShape gatheredShape = gathered.Images.Shape;
        Guard.That(!local.Images.IsEmpty, localShape, "must have at least one row and one column", "local.Images");
        Guard.That(
            gatheredShape.Rows >= localShape.Rows && gatheredShape.Columns == localShape.Columns,
            gatheredShape,
            $"must have as many columns as local.Images ({localShape}) and no fewer rows",
            "gathered.Images");
        Guard.That(targetOffset >= 0 && targetOffset <= gatheredShape.Rows - localShape.Rows, targetOffset, $"must be from 0 to {gatheredShape.Rows - localShape.Rows}");
        Guard.That(logitScale is >= MinLogitScale and <= MaxLogitScale, logitScale, "must be from -100 to 80");
        CheckOperands(local, localShape, "local");
        CheckOperands(gathered, gatheredShape, "gathered");
        CheckGradients(gradLocal, localShape, local, gathered, "gradLocal");
        CheckGradients(gradGathered, gatheredShape, local, gathered, "gradGathered");
        return _cpu.Run(local, gathered, targetOffset, logitScale, gradLocal, gradGathered);
    }

    /// <summary>Frees the workspace and the worker threads.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _cpu.Dispose();
    }

    private void CheckOperands(MoLoFeatures features, MatrixShape shape, string name)
    {
        Check(features.Images, shape, $"{name}.Images", true);
        Check(features.Texts, shape, $"{name}.Texts", true);
        Check(features.ComponentImages, shape, $"{name}.ComponentImages", _options.ReconstructsImages);
        Check(features.ComponentTexts, shape, $"{name}.ComponentTexts", _options.ReconstructsTexts);
    }

    private void Check(ReadOnlyMatrixView operand, MatrixShape shape, string name, bool isUsed)
    {
        if (isUsed)
        {
            Guard.Shape(operand.Shape, shape, name, "the images beside it");
            Guard.Finite(operand, name);
        }
        else
        {
            Guard.That(operand.IsEmpty, operand.Shape, $"must be empty with components = {_options.Components} and lambda = {_options.Lambda}", name);
        }
    }

    private void CheckGradients(MoLoGradients gradients, MatrixShape shape, MoLoFeatures local, MoLoFeatures gathered, string name)
    {
        Check(gradients.Images, shape, local, gathered, $"{name}.Images", true);
        Check(gradients.Texts, shape, local, gathered, $"{name}.Texts", true);
        Check(gradients.ComponentImages, shape, local, gathered, $"{name}.ComponentImages", _options.ReconstructsImages);
        Check(gradients.ComponentTexts, shape, local, gathered, $"{name}.ComponentTexts", _options.ReconstructsTexts);
    }

    private void Check(MatrixView gradient, MatrixShape shape, MoLoFeatures local, MoLoFeatures gathered, string name, bool isUsed)
    {
        if (gradient.IsEmpty)
        {
            return;
        }

        Guard.That(isUsed, gradient.Shape, $"must be empty with components = {_options.Components} and lambda = {_options.Lambda}", name);
        Guard.Shape(gradient.Shape, shape, name, "the operand");
        Apart(gradient, local, name, "local");
        Apart(gradient, gathered, name, "gathered");
    }

    private static void Apart(MatrixView gradient, MoLoFeatures features, string name, string owner)
    {
        Guard.Apart(gradient, features.Images, name, $"{owner}.Images");
        Guard.Apart(gradient, features.Texts, name, $"{owner}.Texts");
        Guard.Apart(gradient, features.ComponentImages, name, $"{owner}.ComponentImages");
        Guard.Apart(gradient, features.ComponentTexts, name, $"{owner}.ComponentTexts");
    }
}

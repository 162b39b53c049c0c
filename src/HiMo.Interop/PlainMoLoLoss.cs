// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace HiMo.Interop;

/// <summary>How <see cref="PlainMoLoLoss"/> finds the principal components.</summary>
public enum PlainMethod
{
    /// <summary>Singular vectors of the centred batch, gradient through the SVD: the authors' code, step by step.</summary>
    Svd,

    /// <summary>
    /// Eigenvectors of the smaller of Gram and covariance matrix, one product per pair of cross entropies, component logits by
    /// rank m + 1: the fastest exact formulation in plain operations that is known to us.
    /// </summary>
    Eigh,
}

/// <summary>
/// HiMo-CLIP's loss in plain torch operations, differentiated by autograd: documentation of what <see cref="MoLoLoss"/> computes,
/// and what it is compared with. Works in the inputs' type and on their device.
/// Source: HiMo-CLIP (arXiv:2511.06653), equations 1 to 4, and the authors' HiMo loss and PCA code.
/// </summary>
/// <remarks>Differentiating a decomposition divides by every difference of two eigenvalues: with equal texts, or any repeated
/// eigenvalue, the gradients here are NaN. <see cref="MoLoLoss"/> does not have this failure.</remarks>
public sealed class PlainMoLoLoss : nn.Module<Tensor, Tensor, Tensor, Tensor>
{
    // Kept for good: TorchSharp does not keep a Scalar alive during the call that reads it, so the garbage collector may free a
    // temporary one too early.
    private static readonly Scalar s_minVariance = 1e-8;        // the authors' guard of the division by the total variance
    private static readonly Scalar s_minSquare = 1e-16;
    private static readonly Scalar s_minRelativeEigenvalue = 1e-6;
    private static readonly Scalar s_zero = 0.0;
    private static readonly Scalar s_half = 0.5;

    private readonly MoLoOptions _options;
    private readonly PlainMethod _method;
    private readonly Scalar _globalWeight;
    private readonly Scalar _lambda;
    private readonly Scalar _tau;

    /// <summary>Prepares the loss.</summary>
    /// <param name="options">Null takes the defaults.</param>
    /// <param name="method">How the principal components are found and differentiated.</param>
    /// <exception cref="ArgumentException">An option is outside its range.</exception>
    public PlainMoLoLoss(MoLoOptions? options = null, PlainMethod method = PlainMethod.Svd)
        : base(TorchLoader.NameOf<PlainMoLoLoss>())
    {
        _options = options ?? new MoLoOptions();
        _options.Validate();
        _method = method;
        _globalWeight = _options.GlobalWeight;
        _lambda = _options.Lambda;
        _tau = _options.Tau;
    }

    /// <summary>Number of components that the last call kept: of the texts, or of the images where only those are reconstructed.</summary>
    public int LastM { get; private set; }

    /// <summary>The loss of one batch, a scalar.</summary>
    /// <param name="images">N x d image features, not normalised.</param>
    /// <param name="texts">N x d text features, not normalised.</param>
    /// <param name="logitScale">Natural logarithm of the factor on the cosines, one element.</param>
    public override Tensor forward(Tensor images, Tensor texts, Tensor logitScale)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor v = F.normalize(images, dim: 1), x = F.normalize(texts, dim: 1), scale = logitScale.exp();
        Tensor loss = zeros_like(scale.sum());
        if (_options.GlobalWeight != 0.0)
        {
            loss += Branch(v, x, scale) * _globalWeight;
        }

        if (_options.Lambda != 0.0)
        {
            loss += ComponentBranch(v, x, scale) * _lambda;
        }

        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>Mean of the two directions' cross entropies. Both matrices are N x d, or both N x (m + 1).</summary>
    private Tensor Branch(Tensor images, Tensor texts, Tensor scale)
    {
        if (_method == PlainMethod.Eigh && _options.GatherWithGrad)
        {
            Tensor logits = scale * images.matmul(texts.t());
            return (CrossEntropy(logits) + CrossEntropy(logits.t())) * s_half;
        }

        // The authors gather the second operand of each product from all ranks; their gather has no gradient.
        Tensor gatheredTexts = _options.GatherWithGrad ? texts : texts.detach();
        Tensor gatheredImages = _options.GatherWithGrad ? images : images.detach();
        Tensor perImage = scale * images.matmul(gatheredTexts.t()), perText = scale * texts.matmul(gatheredImages.t());
        return (CrossEntropy(perImage) + CrossEntropy(perText)) * s_half;
    }

    private Tensor CrossEntropy(Tensor logits)
    {
        long[] diagonal = [.. Enumerable.Range(0, (int)logits.shape[0]).Select(row => (long)row)];
        Tensor targets = tensor(diagonal, device: logits.device);
        return F.cross_entropy(logits, targets, label_smoothing: _options.LabelSmoothing);
    }

    private Tensor ComponentBranch(Tensor v, Tensor x, Tensor scale)
    {
        bool lowRank = _method == PlainMethod.Eigh && _options is
        {
            Components: ComponentSource.Text, ComponentNormalization: ComponentNormalization.None, GatherWithGrad: true,
        };
        if (lowRank && (_options.BasisGradient == BasisGradient.Stopped || x.shape[0] > x.shape[1]))
        {
            // v . u'_j = (P v) . (P X_j) + v . mu
            (Tensor centred, Tensor mean) = Centre(x);
            Tensor directions = Directions(centred);
            Tensor basis = cat([directions, mean], 0);
            Tensor weights = cat([centred.matmul(directions.t()), x.new_ones(x.shape[0], 1)], 1);
            return Branch(v.matmul(basis.t()), weights, scale);
        }

        Tensor images = _options.Components == ComponentSource.Text ? v : Reconstruct(v);
        Tensor texts = _options.Components == ComponentSource.Image ? x : Reconstruct(x);
        return Branch(images, texts, scale);
    }

    /// <summary>u' = X P^T P + mu, equation 1.</summary>
    internal Tensor Reconstruct(Tensor rows)
    {
        (Tensor centred, Tensor mean) = Centre(rows);
        Tensor result;
        if (_method == PlainMethod.Eigh && _options.BasisGradient == BasisGradient.Exact && rows.shape[0] <= rows.shape[1])
        {
            Tensor kept = KeptEigenvectors(centred.matmul(centred.t())).Vectors;
            result = kept.matmul(kept.t().matmul(centred)) + mean;
        }
        else
        {
            Tensor directions = Directions(centred);
            result = centred.matmul(directions.t()).matmul(directions) + mean;
        }

        return _options.ComponentNormalization == ComponentNormalization.Cosine ? F.normalize(result, dim: 1) : result;
    }

    private static (Tensor Centred, Tensor Mean) Centre(Tensor rows)
    {
        Tensor mean = rows.mean([0], keepdim: true);
        return (rows - mean, mean);
    }

    /// <summary>The m principal directions, m x d; constants where the basis gradient is stopped.</summary>
    private Tensor Directions(Tensor centred)
    {
        Tensor source = _options.BasisGradient == BasisGradient.Stopped ? centred.detach() : centred;
        if (_method == PlainMethod.Svd)
        {
            (_, Tensor singular, Tensor vectors) = linalg.svd(source, fullMatrices: false);
            LastM = Rank(singular.detach().square());
            return vectors.narrow(0, 0, LastM);
        }

        if (source.shape[0] > source.shape[1])
        {
            return KeptEigenvectors(source.t().matmul(source)).Vectors.t();
        }

        (Tensor values, Tensor left) = KeptEigenvectors(source.matmul(source.t()));
        Tensor defined = values > values.max() * s_minRelativeEigenvalue;
        Tensor scale = where(defined, values.clamp(min: s_minSquare).rsqrt(), zeros_like(values));
        return (left * scale).t().matmul(source);
    }

    /// <summary>Eigenvalues, descending, and eigenvectors (columns) of the m largest.</summary>
    private (Tensor Values, Tensor Vectors) KeptEigenvectors(Tensor symmetric)
    {
        (Tensor values, Tensor vectors) = linalg.eigh(symmetric);       // ascending
        long n = values.shape[0];
        LastM = Rank(values.detach().flip(0).clamp(min: s_zero));
        return (values.narrow(0, n - LastM, LastM), vectors.narrow(1, n - LastM, LastM));
    }

    /// <summary>The smallest m whose share of the variance reaches tau; all where none does.</summary>
    private int Rank(Tensor descending)
    {
        Tensor shares = descending.cumsum(0) / descending.sum().clamp(min: s_minVariance);
        long reached = shares.ge(_tau).sum().item<long>();
        long count = descending.shape[0];
        return (int)(reached == 0 ? count : count - reached + 1);
    }
}

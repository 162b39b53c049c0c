// SPDX-License-Identifier: Apache-2.0
// Principal components of the gallery's texts, in float64.
// Equation    X = U - mean(U); X^T X = C diag(l) C^T, l falling; texts from k components: X C_k C_k^T + mean(U).
//             effective rank = exp(-sum p log p), p = l / sum(l).
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>What the text features' principal components hold.</summary>
internal sealed class TextComponents : IDisposable
{
    private readonly Tensor _centered;
    private readonly Tensor _mean;
    private readonly Tensor _directions; // e x e, one column each

    /// <summary>Decomposes features.</summary>
    /// <param name="texts">n x e.</param>
    public TextComponents(Tensor texts)
    {
        using IDisposable constant = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor wide = texts.to(float64);
        Tensor mean = wide.mean([0L], keepdim: true);
        Tensor centered = wide - mean;
        (Tensor values, Tensor vectors) = linalg.eigh(centered.t().matmul(centered));
        Spectrum = [.. values.flip(0).clamp_min(0.0).data<double>().Select(value => value / texts.shape[0])];
        _mean = mean.MoveToOuterDisposeScope();
        _centered = centered.MoveToOuterDisposeScope();
        _directions = vectors.flip(1).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>Variance along each component, the largest first.</summary>
    public double[] Spectrum { get; }

    /// <summary>exp of the entropy of the variance's shares: how many components carry it; 0 where all texts are the same.</summary>
    public double EffectiveRank
    {
        get
        {
            double total = Spectrum.Sum();
            return total == 0 ? 0 : Math.Exp(-Spectrum.Select(value => value / total).Where(share => share > 0).Sum(share => share * Math.Log(share)));
        }
    }

    /// <summary>The texts rebuilt from their first components, not normalised again.</summary>
    /// <param name="kept">Number of components, from 1 to e.</param>
    /// <returns>n x e, float32.</returns>
    public Tensor Reconstruct(int kept)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor first = _directions.narrow(1, 0, kept);
        return (_centered.matmul(first).matmul(first.t()) + _mean).to(float32).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _centered.Dispose();
        _mean.Dispose();
        _directions.Dispose();
    }
}

// SPDX-License-Identifier: Apache-2.0
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>In which precision positions are stretched.</summary>
public enum StretchPrecision
{
    /// <summary>Exactly, rounded once to float32.</summary>
    F32,

    /// <summary>Every operation rounded to float16, as the authors' loader does; their numbers to the last bit.</summary>
    F16,
}

/// <summary>
/// How a text model's positions are stretched to longer captions: the first 20 stay, three interpolated ones follow each of the
/// others, and the last is extrapolated; 77 become 248. Source: Long-CLIP (arXiv:2403.15378), section 3.2.
/// </summary>
internal static class PositionalTable
{
    /// <summary>The first positions, trained best, are kept as they are and stay frozen.</summary>
    public const int Frozen = 20;

    private const int Factor = 4;

    /// <summary>Positions after stretching.</summary>
    /// <param name="length">Positions before.</param>
    public static int StretchedLength(int length) => (Factor * length) - ((Factor - 1) * Frozen);

    /// <summary>new[20 + 4i + j] = ((4 - j) p[20 + i] + j p[21 + i]) / 4, beyond the end along the last difference.</summary>
    /// <param name="table">L x width, L above 20.</param>
    /// <param name="precision">How the result is rounded.</param>
    /// <returns>(4 L - 60) x width, float32.</returns>
    public static Tensor Stretch(Tensor table, StretchPrecision precision)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor p = table.detach().to(precision == StretchPrecision.F16 ? float16 : float64);
        long length = p.shape[0];
        Tensor lower = p.narrow(0, Frozen, length - 1 - Frozen), upper = p.narrow(0, Frozen + 1, length - 1 - Frozen);
        Tensor last = p.narrow(0, length - 1, 1), step = last - p.narrow(0, length - 2, 1);
        Tensor[] between = new Tensor[Factor], beyond = new Tensor[Factor];
        for (int j = 0; j < Factor; j++)
        {
            // The order of the operations matters in float16 only. Numbers are tensors because of TorchSharp's temporary Scalars: see MlpLayer.
            Tensor rest = Number(Factor - j), share = Number(j), factor = Number(Factor);
            between[j] = (rest * lower / factor) + (share * upper / factor);
            beyond[j] = last + (share * step / factor);
        }

        Tensor stretched = cat([p.narrow(0, 0, Frozen), stack(between, 1).flatten(0, 1), .. beyond]);
        return stretched.to(float32).MoveToOuterDisposeScope();

        Tensor Number(int value) => tensor((double)value).to(p.dtype);
    }

    /// <summary>One table that gives the same features as a frozen and a trained one.</summary>
    /// <param name="frozen">L x width; rows 0 to 19 count.</param>
    /// <param name="trained">L x width; the other rows count.</param>
    /// <param name="length">Rows wanted, at most L.</param>
    /// <returns>length x width.</returns>
    public static Tensor Merge(Tensor frozen, Tensor? trained, long length) => trained is null || length <= Frozen
        ? frozen.narrow(0, 0, length)
        : cat([frozen.narrow(0, 0, Frozen), trained.narrow(0, Frozen, length - Frozen)]);
}

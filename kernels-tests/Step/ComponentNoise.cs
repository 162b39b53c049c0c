// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>
/// What rounding the logits to float32 does to the gradients through dL/du' alone, as a Frobenius norm: the exact gradient divides it by the cut's gap, whoever
/// computes it, and where the loss happens not to turn the subspace at the cut, that is all there is to see.
/// A logit of size s = e^logitScale is off by 2^-24 s, a softmax weight by that share of itself, and row i of dL/du' is s / N times a weighted mean of the other
/// side's rows; where those are reconstructed too, they are off by 2^-24 over their own cut's gap.
/// </summary>
/// <param name="Images">In dL/dimages.</param>
/// <param name="Texts">In dL/dtexts.</param>
internal sealed record ComponentNoise(double Images, double Texts)
{
    private const int Draws = 4;

    public static ComponentNoise Of(NarrowCut batch, double logitScale, MoLoOptions options, int seed)
    {
        Side images = new(batch.Images, batch, options.ReconstructsImages, options.Tau);
        Side texts = new(batch.Texts, batch, options.ReconstructsTexts, options.Tau);
        double scale = Math.Exp(logitScale);
        return new(Noise(images, texts), Noise(texts, images));

        double Noise(Side side, Side other) => side.Noise(scale / batch.Rows * (scale + other.Error) * other.Rounding, options.BasisGradient, seed);
    }

    private sealed class Side
    {
        private readonly ReferenceMatrix _rows;
        private readonly HiDeReferenceState? _state;

        public Side(float[] rows, NarrowCut batch, bool reconstructs, double tau)
        {
            _rows = new(Batch.Widen(rows), batch.Rows, batch.Columns);
            Features = L2NormalizeReference.Forward(_rows);
            _state = reconstructs ? HiDeReference.Forward(Features, tau) : null;
        }

        public ReferenceMatrix Features { get; }

        public ReferenceMatrix Components => _state?.Components ?? Features;

        /// <summary>2^-24 of an element's root mean square.</summary>
        public double Rounding => Math.ScaleB(Expect.Norm(Components.Elements) / Math.Sqrt(Components.Elements.Length), -24);

        /// <summary>Of the components, in roundings; a narrower cut is refined.</summary>
        public double Error => _state is null ? 1.0 : 1.0 / Math.Max(_state.Result.RelativeGap, CutRefinementCpu.Narrow);

        public double Noise(double rounding, BasisGradient basis, int seed)
        {
            if (_state is null)
            {
                return 0.0;
            }

            double squares = 0.0;
            for (int draw = 0; draw < Draws; draw++)
            {
                ReferenceMatrix noise = rounding * Batch.RandomMatrix(_rows.Rows, _rows.Columns, (Draws * seed) + draw);
                ReferenceMatrix gradient = L2NormalizeReference.Backward(_rows, Features, HiDeReference.Backward(_state, noise, basis));
                squares += Math.Pow(Expect.Norm(gradient.Elements), 2);
            }

            return Math.Sqrt(squares / Draws);
        }
    }
}

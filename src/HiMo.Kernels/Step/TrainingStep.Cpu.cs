// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// The objective on one batch, from raw features and back to them.
// One side is reconstructed (the keys), the other meets it (the queries): texts and images, or the reverse for components = image, which
// transposes the component logits and changes nothing else. With X the centred unit keys and b_i = q_i . mu, all global logits are
// q X^T + b 1^T: the unit keys themselves are never stored.
// Forms      N <= d: N x N matrices (Gram);  N > d: factors of m columns (Covariance);  both sides reconstructed: explicit (BothSides).
// Gradients  carried without s until the end, where float64 takes s and the rows' norms in, so that no logit scale overflows on the way.
public sealed partial class TrainingStep
{
    private unsafe struct Frame
    {
        public float* Images;
        public float* Texts;
        public float* GradImages;
        public float* GradTexts;
        public int Rows;
        public int Columns;
        public double Scale;

        public float* Queries;             // as given
        public float* Keys;
        public float* GradQueries;         // null: not wanted
        public float* GradKeys;
        public double* QueryInverse;
        public double* KeyInverse;
        public float* UnitQueries;         // N x d
        public float* Centered;            // X, N x d
        public double* Mean;               // mu, d
        public float* MeanSingle;
        public double* Bias;               // b, N
        public double* RelativeBias;       // b less its largest, N
        public double* Scratch;            // d doubles a thread

        public ContrastiveLossCpu Global;
        public ContrastiveLossCpu Component;
        public double GlobalLoss;
        public double ComponentLoss;
        public PrincipalComponents Components;
        public PrincipalComponents OtherComponents;
        public float* KeyPerRow;           // weights of mu in the keys' gradient; null: none
        public double* QueryConstant;      // added to every row of the queries' gradient; null: none
        public double* KeyConstant;        // added to every row of the keys' gradient; null: none

        public readonly CenteredBatch Batch =>
            new() { Source = Keys, Inverse = KeyInverse, Mean = Mean, Centered = Centered, Rows = Rows, Columns = Columns };

        public readonly bool WantsGradient => GradQueries != null || GradKeys != null;
    }

    private bool HasGlobal => _options.GlobalWeight != 0.0;

    private bool HasComponent => _options.Lambda != 0.0;

    private bool IsCosine => _options.ComponentNormalization == ComponentNormalization.Cosine;

    private bool IsExact => _options.BasisGradient == BasisGradient.Exact;

    private unsafe MoLoResult Compute(Frame frame)
    {
        bool keysAreImages = HasComponent && _options.Components == ComponentSource.Image;
        frame.Queries = keysAreImages ? frame.Texts : frame.Images;
        frame.Keys = keysAreImages ? frame.Images : frame.Texts;
        frame.GradQueries = keysAreImages ? frame.GradTexts : frame.GradImages;
        frame.GradKeys = keysAreImages ? frame.GradImages : frame.GradTexts;
        Normalize(ref frame);
        bool bothSides = HasComponent && _options.Components == ComponentSource.TextAndImage;
        if (bothSides)
        {
            RunBothSides(ref frame);
        }
        else if (frame.Rows <= frame.Columns)
        {
            RunGram(ref frame);
        }
        else
        {
            RunCovariance(ref frame);
        }

        double gradLogitScale = 0.0;
        if (frame.WantsGradient)
        {
            Finish(ref frame);
            gradLogitScale = (HasGlobal ? frame.Global.ScaleGradient() : 0.0) + (HasComponent ? frame.Component.ScaleGradient() : 0.0);
        }

        PrincipalComponents texts = keysAreImages ? default : frame.Components;
        PrincipalComponents images = keysAreImages ? frame.Components : frame.OtherComponents;
        _spectrum = frame.Components.ValuesAddress;
        _spectrumLength = frame.Components.Size;

        return new()
        {
            Loss = (_options.GlobalWeight * frame.GlobalLoss) + (_options.Lambda * frame.ComponentLoss),
            Global = frame.GlobalLoss,
            Component = frame.ComponentLoss,
            M = texts.M,
            MImage = images.M,
            ExplainedVariance = frame.Components.Cut.Share,
            RelativeGap = HasComponent ? frame.Components.Cut.RelativeGap : double.PositiveInfinity,
            Warnings = HasComponent ? WarningsOf(frame.Components, frame.Rows, frame.Columns) | WarningsOf(frame.OtherComponents, frame.Rows, frame.Columns) : HiDeWarnings.None,
            GradLogitScale = gradLogitScale,
        };
    }

    private static HiDeWarnings WarningsOf(in PrincipalComponents components, int rows, int columns) =>
        components.Size == 0 ? HiDeWarnings.None : components.Cut.Warnings(rows, columns);

    private unsafe void Normalize(ref Frame frame)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        frame.Scratch = _workspace.Doubles(_pool.Threads, d);
        frame.QueryInverse = _workspace.Doubles(n);
        frame.KeyInverse = _workspace.Doubles(n);
        frame.UnitQueries = _workspace.Floats(n, d);
        frame.Centered = _workspace.Floats(n, d);
        frame.Mean = _workspace.Doubles(d);
        frame.MeanSingle = _workspace.Floats(d);
        frame.Bias = _workspace.Doubles(n);
        frame.RelativeBias = _workspace.Doubles(n);
        if (!L2NormalizeCpu.Forward(_pool, frame.Keys, n, d, frame.KeyInverse, null))
        {
            ThrowNotFinite(frame);
        }

        BatchMeanCpu.Forward(_pool, frame.Batch);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<double>(frame.Mean, d), new Span<float>(frame.MeanSingle, d));
        if (!L2NormalizeCpu.Forward(_pool, frame.Queries, n, d, frame.QueryInverse, frame.UnitQueries, frame.Mean, frame.Bias))
        {
            ThrowNotFinite(frame);
        }

        // Where no column has a scale of its own, one number taken from all logits changes neither loss nor gradient. The largest bias taken out in float64
        // leaves float32 the digits that tell the logits apart: those of one row when the texts are alike, or a common direction of both sides.
        ReadOnlySpan<double> bias = new(frame.Bias, n);
        TensorPrimitives.Subtract(bias, TensorPrimitives.Max(bias), new Span<double>(frame.RelativeBias, n));
    }

    // What is left in both gradients is the way back through the mean and the norms.
    private unsafe void Finish(ref Frame frame)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        if (frame.GradQueries != null)
        {
            // D (X + 1 mu^T): the second term, for every branch whose bias is b.
            float* perRow = _workspace.Floats(n);
            Span<float> sums = new(perRow, n);
            sums.Clear();
            if (HasGlobal)
            {
                TensorPrimitives.Add(sums, new ReadOnlySpan<float>(frame.Global.RowSumOfGradient, n), sums);
            }

            if (HasComponent && frame.Component.RowBias != null)
            {
                TensorPrimitives.Add(sums, new ReadOnlySpan<float>(frame.Component.RowSumOfGradient, n), sums);
            }

            L2NormalizeCpu.Backward(
                _pool, frame.Queries, n, d, frame.QueryInverse, frame.Scale, frame.GradQueries, perRow, frame.Mean, frame.QueryConstant, frame.Scratch);
        }

        if (frame.GradKeys != null)
        {
            L2NormalizeCpu.Backward(
                _pool, frame.Keys, n, d, frame.KeyInverse, frame.Scale, frame.GradKeys, frame.KeyPerRow, frame.Mean, frame.KeyConstant, frame.Scratch);
        }
    }

    private void BeginProgress(in Frame frame) =>
        _progress.Begin(frame.Rows, ((HasGlobal ? 1 : 0) + (HasComponent ? 1 : 0)) * (frame.WantsGradient ? 2 : 1));

    private unsafe ContrastiveLossCpu Begin(in Frame frame, double weight, double* bias, float* columnScale)
    {
        ContrastiveLossCpu loss = ContrastiveLossCpu.Begin(
            _workspace, frame.Rows, frame.Rows, 0, frame.Scale, _options.LabelSmoothing, bias, columnScale);
        loss.RowWeight = loss.ColumnWeight = (float)(weight / (2.0 * frame.Rows));
        return loss;
    }

    private static unsafe void ThrowNotFinite(in Frame frame)
    {
        ThrowNotFinite(frame.Images, frame.Rows, frame.Columns, "images");
        ThrowNotFinite(frame.Texts, frame.Rows, frame.Columns, "texts");
    }

    private static unsafe void ThrowNotFinite(float* elements, int rows, int columns, string name)
    {
        for (long k = 0; k < (long)rows * columns; k++)
        {
            if (!float.IsFinite(elements[k]))
            {
                throw new ArgumentException(FormattableString.Invariant(
                    $"TrainingStep.Run: {name} holds {elements[k]} at row {k / columns}, column {k % columns}; every feature must be finite."), name);
            }
        }
    }
}

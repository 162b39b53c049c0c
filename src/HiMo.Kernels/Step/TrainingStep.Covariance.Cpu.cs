// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// The objective for N > d, through factors of m columns; logits exist a tile at a time.
//            C = X^T X = W Lambda W^T,   P = W_m^T,   Y = X W,   V = q W,   logits s (q X^T + b 1^T) and s (V_m Y_m^T + b 1^T) diag(r)
// Backward   J = D_c Y_m,  L = D_c^T V_m,   dq = D_g X + J P + (D_g 1 + D_c 1) mu^T,   dk = D_g^T q + F W^T - means + (1/N) 1 (q^T D_c 1)^T
//   stopped  F_m = L
//   exact    F_m = L + 2 Y_r Z^T,  F_r = 2 Y_m Z,   Sh + Sh^T = J^T V_r + L^T Y_r      (kept x dropped; 2 Z of ProjectionCpu)
//   cosine   D_c stands for D_c diag(r) and u' loses g_j u'_j,  g_j = r_j^2 u'_j . (D_c^T q)_j:  L -= diag(g) (Y_m + 1 (P mu)^T),
//            Sh -= (Y_m^T g) (mu W_r)^T
//   without gatherWithGrad, D is its row part in dq and its column part in dk.
// Memory     q, X, V, Y, F: N x d each; J, L: N x m; two tiles. No N x N matrix.
// Source     HiMo-CLIP (arXiv:2511.06653); the form is derived in docs/design.md.
public sealed partial class TrainingStep
{
    private unsafe void RunCovariance(ref Frame frame)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        bool split = !_options.GatherWithGrad;
        BeginProgress(frame);
        LogitBranch global = new()
        {
            Queries = frame.UnitQueries, QueryStride = d, Keys = frame.Centered, KeyStride = d, Width = d, GradStride = d, Progress = _progress,
            GradQueries = frame.GradQueries, GradKeys = frame.GradKeys,
        };
        GemmStrips firstTile = default;
        if (HasGlobal)
        {
            global.Loss = Begin(frame, _options.GlobalWeight, frame.RelativeBias, null);
            global.TakeTile(_workspace, split && frame.WantsGradient);
            firstTile = global.FirstTile(_pool);
        }

        LogitBranch component = default;
        float* alongMean = null;           // W mu (cosine)
        if (HasComponent)
        {
            bool all = frame.GradKeys != null && IsExact;
            frame.Components = _axes.Decompose(
                _workspace, _workspace, frame.Batch, _options.Tau, all, firstTile, HasGlobal ? firstTile.Tasks : 0);
            PrincipalComponents components = frame.Components;
            int needed = all ? d : components.M;
            float* y = _workspace.Floats(n, d);
            float* v = _workspace.Floats(n, d);
            Gemm.Multiply(_pool, n, needed, d, 1.0f, frame.Centered, d, 1, components.Vectors, 1, d, 0.0f, y, d);
            Gemm.Multiply(_pool, n, needed, d, 1.0f, frame.UnitQueries, d, 1, components.Vectors, 1, d, 0.0f, v, d);
            float* r = null;
            if (IsCosine)
            {
                alongMean = _workspace.Floats(d);
                r = CovarianceCosineScale(frame, y, alongMean);
            }

            component = new() { Queries = v, QueryStride = d, Keys = y, KeyStride = d, Width = components.M, GradStride = components.M, Progress = _progress };
            component.Loss = Begin(frame, _options.Lambda, IsCosine ? frame.Bias : frame.RelativeBias, r);
            component.TakeTile(_workspace, split && frame.WantsGradient);
            frame.ComponentLoss = Half(component.Forward(_pool, columnDirection: true));
        }
        else if (HasGlobal)
        {
            _pool.Run(ref firstTile, firstTile.Tasks);
        }

        if (HasGlobal)
        {
            frame.GlobalLoss = Half(global.Forward(_pool, columnDirection: true));
        }

        if (frame.WantsGradient)
        {
            if (HasGlobal)
            {
                global.Backward(_pool);
            }
            else if (!HasComponent)
            {
                ClearGradients(frame);
            }

            if (HasComponent)
            {
                CovarianceBackward(ref frame, ref component, alongMean);
            }
        }

        frame.Global = global.Loss;
        frame.Component = component.Loss;
    }

    private static double Half((double Rows, double Columns) losses) => 0.5 * (losses.Rows + losses.Columns);

    private static unsafe void ClearGradients(in Frame frame)
    {
        nuint bytes = (nuint)frame.Rows * (nuint)frame.Columns * sizeof(float);
        if (frame.GradQueries != null)
        {
            System.Runtime.InteropServices.NativeMemory.Clear(frame.GradQueries, bytes);
        }

        if (frame.GradKeys != null)
        {
            System.Runtime.InteropServices.NativeMemory.Clear(frame.GradKeys, bytes);
        }
    }

    private unsafe void CovarianceBackward(ref Frame frame, ref LogitBranch component, float* alongMean)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        int m = component.Width;
        bool split = !_options.GatherWithGrad;
        bool coupled = frame.GradKeys != null && IsExact;
        float beta = HasGlobal ? 1.0f : 0.0f;
        float* j = frame.GradQueries != null || (coupled && !split) ? _workspace.Floats(n, m) : null;
        float* jOfKeys = coupled && split ? _workspace.Floats(n, m) : j;
        float* l = frame.GradKeys != null ? _workspace.Floats(n, m) : null;
        component.GradQueries = j;
        component.GradQueriesFromColumns = coupled && split ? jOfKeys : null;
        component.GradKeys = l;
        if (IsCosine && l != null)
        {
            component.WeightedColumns = _workspace.Floats(n);
            component.Weights = _workspace.Floats(n);
            TensorPrimitives.ConvertTruncating(new ReadOnlySpan<double>(frame.Bias, n), new Span<float>(component.Weights, n));
        }

        component.Backward(_pool);
        frame.Component = component.Loss;
        if (frame.GradQueries != null)
        {
            Gemm.Multiply(_pool, n, d, m, 1.0f, j, m, 1, frame.Components.Vectors, d, 1, beta, frame.GradQueries, d);
        }

        if (frame.GradKeys == null)
        {
            return;
        }

        frame.KeyConstant = MeanGradient(frame);
        float* shrinkAlong = IsCosine ? CovarianceCosine(frame, component, l, alongMean) : null;
        float* f;
        int width;
        if (IsExact)
        {
            f = CovarianceCoupling(frame, component, jOfKeys, l, shrinkAlong, alongMean);
            width = d;
        }
        else
        {
            f = l;
            width = frame.Components.Cut.Defined;
        }

        nint stride = IsExact ? d : m;
        Gemm.Multiply(_pool, n, d, width, 1.0f, f, stride, 1, frame.Components.Vectors, d, 1, beta, frame.GradKeys, d);
        SubtractMean(frame, f, (int)stride, width);
    }

    // constant -= (1/N) (1^T F) W^T
    private unsafe void SubtractMean(in Frame frame, float* f, int stride, int width)
    {
        int d = frame.Columns;
        double* sum = _workspace.Doubles(stride);
        double* back = _workspace.Doubles(d);
        BatchMeanCpu.WeightedSum(_pool, f, frame.Rows, stride, null, 1.0 / frame.Rows, sum);
        BatchMeanCpu.WeightedSum(_pool, frame.Components.Vectors, width, d, sum, 1.0, back);
        TensorPrimitives.Subtract(new ReadOnlySpan<double>(frame.KeyConstant, d), new ReadOnlySpan<double>(back, d), new Span<double>(frame.KeyConstant, d));
    }

    // r_j = 1 / |u'_j|;  |u'_j|^2 = |Y_j|^2 + 2 Y_j . (P mu) + |mu|^2
    private unsafe float* CovarianceCosineScale(in Frame frame, float* y, float* alongMean)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        int m = frame.Components.M;
        BatchMeanCpu.Dots(_pool, frame.Components.Vectors, d, d, frame.MeanSingle, alongMean);
        double* squares = _workspace.Doubles(n);
        double mean = TensorPrimitives.SumOfSquares<double>(new ReadOnlySpan<double>(frame.Mean, d));
        for (int row = 0; row < n; row++)
        {
            double square = mean;
            for (int k = 0; k < m; k++)
            {
                double value = y[((nint)row * d) + k];
                square += value * (value + (2.0 * alongMean[k]));
            }

            squares[row] = square;
        }

        return InverseLengths(squares, n);
    }

    // Takes diag(g) u' out of L and out of the mean's gradient; returns Y_m^T g.
    private unsafe float* CovarianceCosine(in Frame frame, in LogitBranch component, float* l, float* alongMean)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        int m = component.Width;
        float* r = component.Loss.ColumnScale;
        double* g = _workspace.Doubles(n);
        double total = 0.0;
        for (int row = 0; row < n; row++)
        {
            float* y = component.Keys + (row * component.KeyStride);
            float* gradient = l + ((nint)row * m);
            double a = component.WeightedColumns[row];
            for (int k = 0; k < m; k++)
            {
                a += (double)gradient[k] * y[k];
            }

            g[row] = a * r[row] * r[row];
            total += g[row];
            for (int k = 0; k < m; k++)
            {
                gradient[k] -= (float)(g[row] * ((double)y[k] + alongMean[k]));
            }
        }

        double* along = _workspace.Doubles(d);
        double* back = _workspace.Doubles(d);
        BatchMeanCpu.WeightedSum(_pool, component.Keys, n, d, g, 1.0, along);
        BatchMeanCpu.WeightedSum(_pool, frame.Components.Vectors, m, d, along, 1.0, back);
        for (int k = 0; k < d; k++)
        {
            frame.KeyConstant[k] -= (back[k] + (total * frame.Mean[k])) / n;
        }

        float* result = _workspace.Floats(m);
        TensorPrimitives.ConvertTruncating<double, float>(new ReadOnlySpan<double>(along, m), new Span<float>(result, m));
        return result;
    }

    private unsafe float* CovarianceCoupling(in Frame frame, in LogitBranch component, float* j, float* l, float* shrinkAlong, float* alongMean)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        int m = component.Width;
        int dropped = frame.Components.Dropped;
        float* y = component.Keys;
        float* f = _workspace.Floats(n, d);
        for (int row = 0; row < n; row++)
        {
            Span<float> target = new(f + ((nint)row * d), m);
            new ReadOnlySpan<float>(l + ((nint)row * m), m).CopyTo(target);
            target[frame.Components.Cut.Defined..].Clear();
        }

        if (dropped == 0)
        {
            return f;
        }

        float* block = _workspace.Floats(m, dropped);
        Gemm.Multiply(_pool, m, dropped, n, 1.0f, j, 1, m, component.Queries + m, d, 1, 0.0f, block, dropped);
        Gemm.Multiply(_pool, m, dropped, n, 1.0f, l, 1, m, y + m, d, 1, 1.0f, block, dropped);
        if (shrinkAlong != null)
        {
            for (int i = 0; i < m; i++)
            {
                Span<float> row = new(block + ((nint)i * dropped), dropped);
                TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(alongMean + m, dropped), -shrinkAlong[i], row, row);
            }
        }

        ProjectionCpu.Couple(frame.Components, block);
        Gemm.Multiply(_pool, n, m, dropped, 1.0f, y + m, d, 1, block, 1, dropped, 1.0f, f, d);
        Gemm.Multiply(_pool, n, dropped, m, 1.0f, y, d, 1, block, dropped, 1, 0.0f, f + m, d);
        return f;
    }
}

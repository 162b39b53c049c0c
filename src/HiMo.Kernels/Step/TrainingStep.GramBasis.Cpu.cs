// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// The keys' gradient through mean and basis, for N <= d: E2, and the terms along mu. Equations at the head of TrainingStep.Gram.Cpu.cs.
public sealed partial class TrainingStep
{
    private unsafe struct GramBasis
    {
        public float* Aw;                  // A W, n x n
        public float* Dw;                  // D_c W, n x n
        public float* ColumnPart;          // D_c as it moves the keys
        public nint Stride;
        public float* MeanAlong;           // t = W X mu, n (cosine)
        public float* Gx;                  // D_c^T A W_m, n x m (cosine, stopped)
        public float* Shrink;              // g, n; null: not cosine
        public float* ShrinkAlong;         // W g, n
    }

    // r_j = 1 / |u'_j|;  |u'_j|^2 = sum_k lambda_k W_kj^2 + 2 sum_k W_kj t_k + |mu|^2
    private unsafe float* GramCosineScale(in Frame frame, float* meanAlong)
    {
        int n = frame.Rows;
        PrincipalComponents components = frame.Components;
        float* xMean = _workspace.Floats(n);
        BatchMeanCpu.Dots(_pool, frame.Centered, n, frame.Columns, frame.MeanSingle, xMean);
        BatchMeanCpu.Dots(_pool, components.Vectors, n, n, xMean, meanAlong);
        double* squares = _workspace.Doubles(n);
        Span<double> square = new(squares, n);
        square.Fill(TensorPrimitives.SumOfSquares<double>(new ReadOnlySpan<double>(frame.Mean, frame.Columns)));
        for (int k = 0; k < components.M; k++)
        {
            float* vector = components.Vectors + ((nint)k * n);
            double value = components.Values[k];
            double along = 2.0 * meanAlong[k];
            for (int j = 0; j < n; j++)
            {
                square[j] += vector[j] * ((value * vector[j]) + along);
            }
        }

        return InverseLengths(squares, n);
    }

    // A reconstruction that float32 cannot tell from zero has no direction: its logits are 0 and no gradient passes, as at L2Normalize's floor.
    private unsafe float* InverseLengths(double* squares, int count)
    {
        float* inverse = _workspace.Floats(count);
        for (int j = 0; j < count; j++)
        {
            inverse[j] = squares[j] > MinSquare ? (float)(1.0 / Math.Sqrt(squares[j])) : 0.0f;
        }

        return inverse;
    }

    private unsafe void GramBasisGradient(ref Frame frame, ref GramBasis basis, float beta)
    {
        int n = frame.Rows;
        int m = frame.Components.M;
        int d = frame.Columns;
        frame.KeyConstant = MeanGradient(frame);
        if (IsCosine || !IsExact)
        {
            basis.Gx = _workspace.Floats(n, m);
            Gemm.Multiply(_pool, n, m, n, 1.0f, basis.ColumnPart, 1, basis.Stride, basis.Aw, n, 1, 0.0f, basis.Gx, m);
        }

        if (IsCosine)
        {
            GramCosineWeights(ref frame, ref basis);
        }

        float* e2 = _workspace.Floats(n, n);
        if (IsExact)
        {
            GramCoupling(frame, basis, e2);
        }
        else
        {
            GramStopped(ref frame, basis, e2);
        }

        Gemm.Multiply(_pool, n, d, n, 1.0f, e2, n, 1, frame.Centered, d, 1, beta, frame.GradKeys, d);
    }

    // (1/N) q^T (D_c 1): what reaches every key through the mean.
    private unsafe double* MeanGradient(in Frame frame)
    {
        int n = frame.Rows;
        double* weights = _workspace.Doubles(n);
        float* sums = frame.Component.RowSumOfGradient + (_options.GatherWithGrad ? 0 : n);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(sums, n), new Span<double>(weights, n));
        double* constant = _workspace.Doubles(frame.Columns);
        BatchMeanCpu.WeightedSum(_pool, frame.UnitQueries, n, frame.Columns, weights, 1.0 / n, constant);
        return constant;
    }

    // g, and what leaves the gradient of the mean with it: (1/N) sum_j g_j u'_j = (1/N) (X^T Q g + (sum g) mu)
    private unsafe void GramCosineWeights(ref Frame frame, ref GramBasis basis)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        PrincipalComponents components = frame.Components;
        int m = components.M;
        float* r = frame.Component.ColumnScale;
        float* g = _workspace.Floats(n);
        double* along = _workspace.Doubles(n);            // sum_i D_ij b_i
        Span<double> bias = new(along, n);
        bias.Clear();
        for (int i = 0; i < n; i++)
        {
            float* row = basis.ColumnPart + (i * basis.Stride);
            for (int j = 0; j < n; j++)
            {
                bias[j] += row[j] * frame.Bias[i];
            }
        }

        double total = 0.0;
        for (int j = 0; j < n; j++)
        {
            double a = bias[j];
            for (int k = 0; k < m; k++)
            {
                a += (double)basis.Gx[((nint)j * m) + k] * components.Vectors[((nint)k * n) + j];
            }

            g[j] = (float)(a * r[j] * r[j]);
            total += g[j];
        }

        basis.Shrink = g;
        basis.ShrinkAlong = _workspace.Floats(n);
        BatchMeanCpu.Dots(_pool, components.Vectors, n, n, g, basis.ShrinkAlong);
        double* weights = _workspace.Doubles(m);
        TensorPrimitives.ConvertTruncating(new ReadOnlySpan<float>(basis.ShrinkAlong, m), new Span<double>(weights, m));
        double* projected = _workspace.Doubles(n);        // Q g
        BatchMeanCpu.WeightedSum(_pool, components.Vectors, m, n, weights, 1.0, projected);
        Subtract(frame, projected, total);
        if (IsExact)
        {
            frame.KeyPerRow = _workspace.Floats(n);
            for (int j = 0; j < n; j++)
            {
                frame.KeyPerRow[j] = -(float)projected[j];
            }
        }
    }

    // constant -= (1/N) (X^T weights + meanWeight mu)
    private unsafe void Subtract(in Frame frame, double* weights, double meanWeight)
    {
        int d = frame.Columns;
        double* sum = _workspace.Doubles(d);
        BatchMeanCpu.WeightedSum(_pool, frame.Centered, frame.Rows, d, weights, 1.0, sum);
        for (int k = 0; k < d; k++)
        {
            frame.KeyConstant[k] -= (sum[k] + (meanWeight * frame.Mean[k])) / frame.Rows;
        }
    }

    // E2 = W Z W^T - Q diag(g) Q
    private unsafe void GramCoupling(in Frame frame, in GramBasis basis, float* e2)
    {
        int n = frame.Rows;
        PrincipalComponents components = frame.Components;
        int m = components.M;
        int dropped = components.Dropped;
        float* w = components.Vectors;
        float* shrunk = null;              // W_m diag(g), m x n
        if (IsCosine)
        {
            shrunk = _workspace.Floats(m, n);
            for (int i = 0; i < m; i++)
            {
                TensorPrimitives.Multiply(new ReadOnlySpan<float>(w + ((nint)i * n), n), new ReadOnlySpan<float>(basis.Shrink, n), new Span<float>(shrunk + ((nint)i * n), n));
            }
        }

        if (dropped == 0)
        {
            new Span<float>(e2, checked(n * n)).Clear();
        }
        else
        {
            float* block = _workspace.Floats(m, dropped);
            Gemm.Multiply(_pool, m, dropped, n, 1.0f, basis.Dw, 1, n, basis.Aw + m, n, 1, 0.0f, block, dropped);
            Gemm.Multiply(_pool, m, dropped, n, 1.0f, basis.Aw, 1, n, basis.Dw + m, n, 1, 1.0f, block, dropped);
            if (IsCosine)
            {
                // (u' X^T) W has columns lambda_k w_k + t_k 1 for k <= m and t_k 1 beyond.
                float* product = _workspace.Floats(m, dropped);
                Gemm.Multiply(_pool, m, dropped, n, 1.0f, shrunk, n, 1, components.DroppedVectors, 1, n, 0.0f, product, dropped);
                for (int i = 0; i < m; i++)
                {
                    for (int j = 0; j < dropped; j++)
                    {
                        nint k = ((nint)i * dropped) + j;
                        block[k] -= (components.Values[i] * product[k])
                            + (basis.MeanAlong[m + j] * basis.ShrinkAlong[i]) + (basis.MeanAlong[i] * basis.ShrinkAlong[m + j]);
                    }
                }
            }

            ProjectionCpu.Couple(components, block);
            ProjectionCpu.Spread(_pool, _workspace, components, block, e2);
        }

        if (IsCosine)
        {
            float* inner = _workspace.Floats(m, m);
            float* product = _workspace.Floats(m, n);
            Gemm.Multiply(_pool, m, m, n, 1.0f, shrunk, n, 1, w, 1, n, 0.0f, inner, m);
            Gemm.Multiply(_pool, m, n, m, 1.0f, inner, m, 1, w, n, 1, 0.0f, product, n);
            Gemm.Multiply(_pool, n, n, m, -1.0f, w, 1, n, product, n, 1, 1.0f, e2, n);
        }
    }

    // E2 = [D_c^T A W_k Lambda_k^-1 - diag(g) (W_k^T + 1 (t_k / lambda_k)^T)] W_k; the mean of its rows goes into the constant.
    private unsafe void GramStopped(ref Frame frame, in GramBasis basis, float* e2)
    {
        int n = frame.Rows;
        PrincipalComponents components = frame.Components;
        int defined = components.Cut.Defined;
        if (defined == 0)
        {
            new Span<float>(e2, checked(n * n)).Clear();
            return;
        }

        float* along = _workspace.Floats(n, defined);
        for (int j = 0; j < n; j++)
        {
            for (int k = 0; k < defined; k++)
            {
                double value = basis.Gx[((nint)j * components.M) + k];
                if (IsCosine)
                {
                    value -= basis.Shrink[j] * ((components.Values[k] * (double)components.Vectors[((nint)k * n) + j]) + basis.MeanAlong[k]);
                }

                along[((nint)j * defined) + k] = (float)(value / components.Values[k]);
            }
        }

        Gemm.Multiply(_pool, n, n, defined, 1.0f, along, defined, 1, components.Vectors, n, 1, 0.0f, e2, n);
        double* mean = _workspace.Doubles(n);
        BatchMeanCpu.WeightedSum(_pool, e2, n, n, null, 1.0, mean);
        Subtract(frame, mean, 0.0);
    }
}

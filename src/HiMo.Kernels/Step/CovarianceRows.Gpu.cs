// SPDX-License-Identifier: Apache-2.0
// The row by row work of the step's form for N > d (the form: TrainingStep.Covariance.Gpu.cs).
//            cosine    r_j = 1 / |u'_j|,  |u'_j|^2 = sum_k Y_jk (Y_jk + 2 t_k) + |mu|^2,  t = W^T mu
//                      g_j = r_j^3 L_j . Y_j,  L_j becomes r_j L_j - g_j (Y_j + t)                    (column 0 belongs to the dot product)
//            constant  c = (1/N) [ sum_i J_i0 q_i + h_0 mu + sum_k (h_k - f_k) w_k ],  h = -sum_j g_j Y_j,  f = sum_j L_j where defined
// Mapping    a warp a row (cosine) or a component (constant).
// Precision  lengths and c float64, L_j . Y_j float32.
// Determinism  a lane adds every 32nd element in order, then the lanes by five exchanges: the order follows from m.
// Limits     fewer than 2^26 rows, since a launch counts their threads in 32 bits; groups of whole warps, one on OpenCL.
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of the row kernels.</summary>
internal struct CovarianceRowsArguments
{
    /// <summary>Y, N rows of d + 1.</summary>
    public BatchView<float> Keys;

    /// <summary>Row N of V: |mu|^2, then t; d + 1.</summary>
    public BatchView<float> MeanRow;

    /// <summary>L, N rows of d + 1.</summary>
    public BatchView<float> Gradient;

    /// <summary>r, N.</summary>
    public BatchView<float> RowScale;

    /// <summary>Receives -g, N.</summary>
    public BatchView<float> Shrink;
    public Decomposition Decomposition;

    /// <summary>N.</summary>
    public int Rows;
}

/// <summary>Arguments of <see cref="CovarianceRowsGpu.ConstantKernel"/>.</summary>
internal struct MeanGradientArguments
{
    /// <summary>sum_i J_i0 q_i, d.</summary>
    public BatchView<float> Weighted;

    /// <summary>h, d + 1; empty: 0.</summary>
    public BatchView<float> Shrunk;

    /// <summary>f, d; used where a direction is defined.</summary>
    public BatchView<float> Sums;

    /// <summary>Receives c, d.</summary>
    public BatchView<float> Result;
    public BasisOperand Basis;

    /// <summary>N.</summary>
    public int Rows;
}

/// <summary>Row kernels of the form for N > d.</summary>
internal static class CovarianceRowsGpu
{
    private const double MinSquare = 1.0 / (1 << 22); // below, float32 cannot tell a reconstructed row from zero

    /// <summary>r; a row without a direction gets 0.</summary>
    public static void ScaleKernel(CovarianceRowsArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.Rows)
        {
            return; // a whole warp leaves
        }

        int m = p.Decomposition.Kept[0];
        long start = (long)row * (p.Decomposition.Size + 1);
        double square = lane == 0 ? p.MeanRow[0] : 0.0;
        for (int k = 1 + lane; k <= m; k += Gpu.WarpSize)
        {
            double value = p.Keys[start + k];
            square += value * (value + (2.0 * p.MeanRow[k]));
        }

        square = GroupSum.Warp(square);
        if (lane == 0)
        {
            p.RowScale[row] = square > MinSquare ? (float)(1.0 / XMath.Sqrt(square)) : 0.0f;
        }
    }

    /// <summary>L from the gradient of the scaled rows' coordinates, and g.</summary>
    public static void GradientKernel(CovarianceRowsArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.Rows)
        {
            return; // a whole warp leaves
        }

        int m = p.Decomposition.Kept[0];
        long start = (long)row * (p.Decomposition.Size + 1);
        float scale = p.RowScale[row];
        float part = 0.0f;
        for (int k = lane; k <= m; k += Gpu.WarpSize)
        {
            part += p.Gradient[start + k] * p.Keys[start + k];
        }

        float shrink = scale * scale * scale * GroupSum.Warp(part);
        for (int k = 1 + lane; k <= m; k += Gpu.WarpSize)
        {
            p.Gradient[start + k] = (scale * p.Gradient[start + k]) - (shrink * (p.Keys[start + k] + p.MeanRow[k]));
        }

        if (lane == 0)
        {
            p.Shrink[row] = -shrink;
        }
    }

    /// <summary>c, one component a warp.</summary>
    public static void ConstantKernel(MeanGradientArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int component = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        int d = p.Basis.Decomposition.Size;
        if (component >= d)
        {
            return; // a whole warp leaves
        }

        int m = p.Basis.Decomposition.Kept[0];
        double sum = lane == 0 ? p.Weighted[component] : 0.0;
        for (int k = lane; k <= m; k += Gpu.WarpSize)
        {
            double weight = 0.0;
            if (k > 0 && p.Basis.Decomposition.IsDefined(k - 1))
            {
                weight = -p.Sums[k - 1];
            }

            if (!p.Shrunk.IsEmpty)
            {
                weight += p.Shrunk[k];
            }

            sum += weight * p.Basis.Load(k, component);
        }

        sum = GroupSum.Warp(sum);
        if (lane == 0)
        {
            p.Result[component] = (float)(sum / p.Rows);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Rows of two matrices scaled to unit length, y = x / max(|x|, 1e-12).        HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Shapes     x, y: 2 x N x d, the second matrix after the first; inverseNorm: 2 N, 0 where a row is at the clamp: its gradient is 0.
// Mapping    a warp a row; two passes over the row, the second from cache.
// Precision  float64 until the unit row is rounded, as on the CPU: no square overflows or vanishes, and HiDe's eigenvalues begin with one rounding.
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="L2NormalizeGpu.Kernel"/>.</summary>
internal struct L2NormalizeArguments
{
    /// <summary>Images, N x d.</summary>
    public BatchView<float> Images;

    /// <summary>Texts, N x d.</summary>
    public BatchView<float> Texts;

    /// <summary>Receives unit images, then unit texts.</summary>
    public BatchView<float> Unit;

    /// <summary>Receives 1 / |x| of the images, then of the texts.</summary>
    public BatchView<float> InverseNorm;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>Rows in all: 2 N, or N for the first matrix alone.</summary>
    public int TotalRows;

    /// <summary>d.</summary>
    public int Columns;
}

/// <summary>Arguments of <see cref="L2NormalizeGpu.BackwardKernel"/>.</summary>
internal struct L2NormalizeBackwardArguments
{
    /// <summary>Gradient of the first matrix's unit rows over s; receives the raw rows' gradient.</summary>
    public ArrayView<float> First;

    /// <summary>The same of the second matrix.</summary>
    public ArrayView<float> Second;

    /// <summary>Unit rows of the first matrix, then of the second.</summary>
    public ArrayView<float> Unit;

    /// <summary>1 / |x| of each, 0 at the clamp.</summary>
    public ArrayView<float> InverseNorm;

    /// <summary>ln s, one element; empty: s is 1.</summary>
    public ArrayView<float> LogitScale;

    /// <summary>N.</summary>
    public int Rows;

    /// <summary>Rows in all: 2 N, or N for the first matrix alone.</summary>
    public int TotalRows;

    /// <summary>d.</summary>
    public int Columns;
}

/// <summary>L2 normalisation on the GPU; in the N x N form its backward pass is in the epilogue of the last product, <see cref="FeatureGradient"/>.</summary>
internal static class L2NormalizeGpu
{
    private const double MinNorm = 1e-12;

    /// <summary>One row a warp.</summary>
    public static void Kernel(L2NormalizeArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.TotalRows)
        {
            return; // a whole warp leaves, so no shuffle is split
        }

        bool isImage = row < p.Rows;
        long start = (long)(isImage ? row : row - p.Rows) * p.Columns;
        long target = (long)row * p.Columns;
        double sum = 0.0;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            double value = isImage ? p.Images[start + k] : p.Texts[start + k];
            sum += value * value;
        }

        double norm = XMath.Sqrt(GroupSum.Warp(sum));
        bool isClamped = norm <= MinNorm;
        double divisor = isClamped ? MinNorm : norm;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            double value = isImage ? p.Images[start + k] : p.Texts[start + k];
            p.Unit[target + k] = (float)(value / divisor);
        }

        if (lane == 0)
        {
            p.InverseNorm[row] = isClamped ? 0.0f : (float)(1.0 / norm);
        }
    }

    /// <summary>g becomes s (g - (g . y) y) / |x|, clamped to what float32 holds; one row a warp, in place.</summary>
    public static void BackwardKernel(L2NormalizeBackwardArguments p)
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.TotalRows)
        {
            return; // a whole warp leaves, so no shuffle is split
        }

        ArrayView<float> gradient = row < p.Rows ? p.First : p.Second;
        long start = (long)(row < p.Rows ? row : row - p.Rows) * p.Columns;
        long unit = (long)row * p.Columns;
        float part = 0.0f;
        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            part += gradient[start + k] * p.Unit[unit + k];
        }

        float along = GroupSum.Warp(part);
        double factor = p.InverseNorm[row]; // times s in float64: both may be beyond float32 together
        if (p.LogitScale.Length > 0)
        {
            factor *= XMath.Exp(p.LogitScale[0]);
        }

        for (int k = lane; k < p.Columns; k += Gpu.WarpSize)
        {
            double value = factor * (gradient[start + k] - (along * p.Unit[unit + k]));
            gradient[start + k] = (float)XMath.Max(-float.MaxValue, XMath.Min(float.MaxValue, value));
        }
    }
}

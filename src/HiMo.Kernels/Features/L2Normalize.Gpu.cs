// SPDX-License-Identifier: Apache-2.0
// Rows of two matrices scaled to unit length, y = x / max(|x|, 1e-12).        HiMo-CLIP (arXiv:2511.06653), features before HiDe
// Shapes     x, y: 2 x N x d, the second matrix after the first; inverseNorm: 2 N, 0 where a row is at the clamp: its gradient is 0.
// Mapping    a warp a row, eight loads of a lane at a time; two passes over the row, the second from cache.
// Precision  float64 until the unit row is rounded, as on the CPU: no square overflows or vanishes, and HiDe's eigenvalues begin with one rounding.
//            Backward, g . y in float32, what is multiplied with it in float64 and clamped to what float32 holds.
// Determinism  a lane adds its elements four by four, then the lanes by five exchanges: the order follows from d.
// Limits     2 N below 2^26, since a launch counts the rows' threads in 32 bits; groups of whole warps, one on OpenCL. A row is one warp's however long it is.
using System.Runtime.CompilerServices;
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
internal static partial class L2NormalizeGpu
{
    private const double MinNorm = 1e-12;

    /// <summary>One row a warp.</summary>
    public static void Kernel(L2NormalizeArguments p)
    {
        int row = (Grid.IdxX * (Group.DimX / Gpu.WarpSize)) + (Group.IdxX / Gpu.WarpSize);
        if (row >= p.TotalRows)
        {
            return; // a whole warp leaves, so no shuffle is split
        }

        bool isImage = row < p.Rows;
        Scale(p, new DenseRows { Data = isImage ? p.Images : p.Texts }, (long)(isImage ? row : row - p.Rows) * p.Columns, row);
    }

    // A row, which begins at an element, by a warp.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Scale<TRows>(L2NormalizeArguments p, TRows rows, long start, int row)
        where TRows : struct, IFeatureRows
    {
        int lane = Group.IdxX % Gpu.WarpSize;
        long target = (long)row * p.Columns;
        double sum = 0.0;
        for (int k = lane; k < p.Columns; k += 8 * Gpu.WarpSize)
        {
            Float4 values = Four(rows, start, k, p.Columns);
            Float4 others = Four(rows, start, k + (4 * Gpu.WarpSize), p.Columns);
            sum += Square(values) + Square(others);
        }

        double norm = XMath.Sqrt(GroupSum.Warp(sum));
        bool isClamped = norm <= MinNorm;
        double factor = 1.0 / (isClamped ? MinNorm : norm); // a division for each element would take longer than its load
        for (int k = lane; k < p.Columns; k += 8 * Gpu.WarpSize)
        {
            Float4 values = Four(rows, start, k, p.Columns);
            Float4 others = Four(rows, start, k + (4 * Gpu.WarpSize), p.Columns);
            Put(p.Unit, target, k, p.Columns, Scaled(values, factor));
            Put(p.Unit, target, k + (4 * Gpu.WarpSize), p.Columns, Scaled(others, factor));
        }

        if (lane == 0)
        {
            p.InverseNorm[row] = isClamped ? 0.0f : (float)factor;
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

        BatchView<float> gradient = row < p.Rows ? p.First : p.Second;
        BatchView<float> units = p.Unit;
        long start = (long)(row < p.Rows ? row : row - p.Rows) * p.Columns;
        long unit = (long)row * p.Columns;
        float part = 0.0f;
        for (int k = lane; k < p.Columns; k += 4 * Gpu.WarpSize)
        {
            Float4 g = Four(new DenseRows { Data = gradient }, start, k, p.Columns);
            Float4 y = Four(new DenseRows { Data = units }, unit, k, p.Columns);
            part += ((g.X * y.X) + (g.Y * y.Y)) + ((g.Z * y.Z) + (g.W * y.W));
        }

        float along = GroupSum.Warp(part);
        double factor = p.InverseNorm[row]; // times s in float64: both may be beyond float32 together
        if (p.LogitScale.Length > 0)
        {
            factor *= XMath.Exp(p.LogitScale[0]);
        }

        for (int k = lane; k < p.Columns; k += 4 * Gpu.WarpSize)
        {
            Float4 g = Four(new DenseRows { Data = gradient }, start, k, p.Columns);
            Float4 y = Four(new DenseRows { Data = units }, unit, k, p.Columns);
            g.X = Across(g.X, y.X, along, factor);
            g.Y = Across(g.Y, y.Y, along, factor);
            g.Z = Across(g.Z, y.Z, along, factor);
            g.W = Across(g.W, y.W, along, factor);
            Put(gradient, start, k, p.Columns, g);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Square(Float4 values) =>
        (((double)values.X * values.X) + ((double)values.Y * values.Y)) + (((double)values.Z * values.Z) + ((double)values.W * values.W));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Scaled(Float4 values, double factor)
    {
        values.X = (float)(values.X * factor);
        values.Y = (float)(values.Y * factor);
        values.Z = (float)(values.Z * factor);
        values.W = (float)(values.W * factor);
        return values;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Across(float gradient, float unit, float along, double factor)
    {
        double value = factor * (gradient - (along * unit));
        return value > float.MaxValue ? float.MaxValue : value < -float.MaxValue ? -float.MaxValue : (float)value; // a GPU's min and max would make a number of NaN
    }

    // A lane's next four elements of a row, loaded together; those behind the end count as 0.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Four<TRows>(TRows data, long start, int first, int count)
        where TRows : struct, IFeatureRows
    {
        Float4 values = default;
        values.X = data.At(start + XMath.Min(first, count - 1));
        values.Y = data.At(start + XMath.Min(first + Gpu.WarpSize, count - 1));
        values.Z = data.At(start + XMath.Min(first + (2 * Gpu.WarpSize), count - 1));
        values.W = data.At(start + XMath.Min(first + (3 * Gpu.WarpSize), count - 1));
        values.X = first < count ? values.X : 0.0f;
        values.Y = first + Gpu.WarpSize < count ? values.Y : 0.0f;
        values.Z = first + (2 * Gpu.WarpSize) < count ? values.Z : 0.0f;
        values.W = first + (3 * Gpu.WarpSize) < count ? values.W : 0.0f;
        return values;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(BatchView<float> data, long start, int first, int count, Float4 values)
    {
        Put(data, start, first, count, values.X);
        Put(data, start, first + Gpu.WarpSize, count, values.Y);
        Put(data, start, first + (2 * Gpu.WarpSize), count, values.Z);
        Put(data, start, first + (3 * Gpu.WarpSize), count, values.W);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(BatchView<float> data, long start, int index, int count, float value)
    {
        if (index < count)
        {
            data[start + index] = value;
        }
    }
}

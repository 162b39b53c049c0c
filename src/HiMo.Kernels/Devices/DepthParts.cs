// SPDX-License-Identifier: Apache-2.0
// C = A B over a long depth for a result of few tiles: parts of the depth are products of their own in one launch, and a second one adds them up.
// Mapping    the parts are the groups of GpuGemm (GemmArguments.PartDepth); then a thread an element of C.
// Precision  products and sums of the parts in float32.
// Determinism  parts are added in their order; how many there are follows from the sizes and the number of multiprocessors, so that two kinds of devices may differ in bits.
// Limits     at most five parts, and none below a depth of 1,024; no DepthLimit; fewer than 2^31 elements of C, which one index counts.
using ILGPU;

namespace HiMo.Kernels;

/// <summary>Arguments of <see cref="DepthPartsGpu.SumKernel"/>.</summary>
internal struct DepthPartsArguments<TC>
    where TC : struct, IGemmResult
{
    /// <summary>Rows x columns of each part, one behind the other.</summary>
    public BatchView<float> Parts;
    public TC C;
    public int Rows;
    public int Columns;
    public int Count;

    /// <inheritdoc cref="GemmArguments{TA, TB, TC}.ColumnLimit"/>
    public DeviceLimit ColumnLimit;

    /// <inheritdoc cref="GemmArguments{TA, TB, TC}.IsSymmetric"/>
    public int IsSymmetric;
}

/// <summary>Products in parts of their depth.</summary>
internal static class DepthPartsGpu
{
    private const int MaxParts = 5;                     // at d = 768 half of the tiles of C fill three groups a multiprocessor
    private const int LeastDepth = 1024;

    /// <summary>Floats of workspace of a batch for a product of up to some depth.</summary>
    public static long ScratchLength(int rows, int columns, int depth) => depth < LeastDepth ? 0 : (long)MaxParts * rows * columns;

    /// <summary>Enqueues C = A B with the error of float32, in parts if the device would not be full otherwise.</summary>
    /// <param name="stream">Orders the launches.</param>
    /// <param name="product">Sizes, operands and result, without a limit of the depth.</param>
    /// <param name="scratch"><see cref="ScratchLength"/> floats a batch; a dense result without a mirror may lie at their beginning.</param>
    public static void Run<TA, TB, TC>(BatchStream stream, GemmArguments<TA, TB, TC> product, BatchView<float> scratch)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        long groups = GpuGemm.WorkingGroups<TA, TB, TC, LargeTile>(1, product, stream.Batches);
        int parts = (int)Math.Min(MaxParts, GpuGemm.GroupsPerMultiprocessor * stream.Gpu.Description.Multiprocessors / Math.Max(groups, 1));
        if (product.Depth < LeastDepth || parts < 2)
        {
            stream.Multiply(1, product);
        }
        else
        {
            Run(parts, stream, product, scratch);
        }
    }

    /// <summary>Enqueues C = A B in a number of parts.</summary>
    internal static void Run<TA, TB, TC>(int parts, BatchStream stream, GemmArguments<TA, TB, TC> product, BatchView<float> scratch)
        where TA : struct, IGemmOperand
        where TB : struct, IGemmOperand
        where TC : struct, IGemmResult
    {
        stream.Multiply(parts, new GemmArguments<TA, TB, StridedMatrix>
        {
            A = product.A, B = product.B, C = StridedMatrix.Rows(scratch, product.Columns, (long)product.Rows * product.Columns),
            Rows = product.Rows, Columns = product.Columns, Depth = product.Depth, PartDepth = (product.Depth + parts - 1) / parts,
            ColumnLimit = product.ColumnLimit, IsSymmetric = product.IsSymmetric,
        });
        stream.Elements(SumKernel, product.Rows * product.Columns, new DepthPartsArguments<TC>
        {
            Parts = scratch, C = product.C, Rows = product.Rows, Columns = product.Columns, Count = parts, ColumnLimit = product.ColumnLimit, IsSymmetric = product.IsSymmetric,
        });
    }

    /// <summary>One element of C a thread.</summary>
    public static void SumKernel<TC>(DepthPartsArguments<TC> p)
        where TC : struct, IGemmResult
    {
        int element = (Grid.IdxX * Group.DimX) + Group.IdxX;
        int length = p.Rows * p.Columns;
        if (element >= length)
        {
            return;
        }

        int row = element / p.Columns;
        int column = element - (row * p.Columns);
        if (column >= p.ColumnLimit.Apply(0, p.Columns) || (p.IsSymmetric != 0 && column > row))
        {
            return; // not there
        }

        float sum = 0.0f;
        for (int part = 0; part < p.Count; part++)
        {
            sum += p.Parts[((long)part * length) + element];
        }

        p.C.SelectResult(0);
        p.C.Store(0, row, column, sum, p.C.Prepare(0, row), p.C.Load(0, row, column));
    }
}

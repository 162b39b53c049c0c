// SPDX-License-Identifier: Apache-2.0
using System.Numerics;
using System.Numerics.Tensors;

namespace HiMo.Kernels;

/// <summary>
/// A row-major float64 matrix whose operators let the reference read like the equations. Values are not shared: every operator
/// returns a new matrix. Each element of a product is summed in ascending order of the inner index, whatever the thread count.
/// </summary>
internal sealed class ReferenceMatrix
{
    private const int RowsPerTask = 32;
    private const int InnerBlock = 64;   // InnerBlock rows of the right factor stay in the cache while RowsPerTask rows of the result use them
    private const long ParallelWork = 1 << 18;

    public ReferenceMatrix(int rows, int columns)
    {
        Rows = rows;
        Columns = columns;
        Elements = new double[checked(rows * columns)];
    }

    public ReferenceMatrix(ReadOnlySpan<double> elements, int rows, int columns)
        : this(rows, columns)
    {
        elements[..Elements.Length].CopyTo(Elements);
    }

    public int Rows { get; }

    public int Columns { get; }

    public double[] Elements { get; }

    public ReferenceMatrix T
    {
        get
        {
            ReferenceMatrix transposed = new(Columns, Rows);
            for (int i = 0; i < Rows; i++)
            {
                for (int j = 0; j < Columns; j++)
                {
                    transposed.Elements[(j * Rows) + i] = Elements[(i * Columns) + j];
                }
            }

            return transposed;
        }
    }

    public double this[int i, int j]
    {
        get => Elements[(i * Columns) + j];
        set => Elements[(i * Columns) + j] = value;
    }

    public static ReferenceMatrix Widen(ReadOnlyMatrixView matrix)
    {
        ReferenceMatrix wide = new(matrix.Rows, matrix.Columns);
        TensorPrimitives.ConvertTruncating(matrix.Elements, wide.Elements);
        return wide;
    }

    public static ReferenceMatrix Identity(int size)
    {
        ReferenceMatrix identity = new(size, size);
        for (int i = 0; i < size; i++)
        {
            identity[i, i] = 1.0;
        }

        return identity;
    }

    public static ReferenceMatrix operator +(ReferenceMatrix a, ReferenceMatrix b)
    {
        ReferenceMatrix sum = new(a.Rows, a.Columns);
        TensorPrimitives.Add<double>(a.Elements, b.Elements, sum.Elements);
        return sum;
    }

    public static ReferenceMatrix operator *(double factor, ReferenceMatrix a)
    {
        ReferenceMatrix scaled = new(a.Rows, a.Columns);
        TensorPrimitives.Multiply(a.Elements, factor, scaled.Elements);
        return scaled;
    }

    public static ReferenceMatrix operator *(ReferenceMatrix a, ReferenceMatrix b)
    {
        if (a.Columns != b.Rows)
        {
            throw new ArgumentException($"product of {a.Rows} x {a.Columns} and {b.Rows} x {b.Columns}; inner sizes must be equal.");
        }

        ReferenceMatrix product = new(a.Rows, b.Columns);
        int tasks = (a.Rows + RowsPerTask - 1) / RowsPerTask;
        if ((long)a.Rows * a.Columns * b.Columns < ParallelWork)
        {
            for (int task = 0; task < tasks; task++)
            {
                MultiplyRows(a, b, product, task * RowsPerTask);
            }
        }
        else
        {
            _ = Parallel.For(0, tasks, task => MultiplyRows(a, b, product, task * RowsPerTask));
        }

        return product;
    }

    public Span<double> Row(int index) => Elements.AsSpan(index * Columns, Columns);

    /// <summary>The first <paramref name="count"/> rows.</summary>
    public ReferenceMatrix Top(int count) => new(Elements, count, Columns);

    /// <summary>Rows <paramref name="start"/> to <paramref name="start"/> + <paramref name="count"/> - 1.</summary>
    public ReferenceMatrix Slice(int start, int count) => new(Elements.AsSpan(start * Columns), count, Columns);

    /// <summary>Narrows to float32; magnitudes beyond its range become its largest value.</summary>
    public void Narrow(MatrixView destination)
    {
        for (int i = 0; i < Elements.Length; i++)
        {
            destination.Elements[i] = (float)double.Clamp(Elements[i], -float.MaxValue, float.MaxValue);
        }
    }

    private static void MultiplyRows(ReferenceMatrix a, ReferenceMatrix b, ReferenceMatrix product, int firstRow)
    {
        int endRow = Math.Min(firstRow + RowsPerTask, a.Rows);
        for (int block = 0; block < a.Columns; block += InnerBlock)
        {
            int endBlock = Math.Min(block + InnerBlock, a.Columns);
            for (int i = firstRow; i < endRow; i++)
            {
                Span<double> destination = product.Row(i);
                int k = block;
                for (; k + 4 <= endBlock; k += 4)
                {
                    AddFour(a.Row(i).Slice(k, 4), b.Row(k), b.Row(k + 1), b.Row(k + 2), b.Row(k + 3), destination);
                }

                for (; k < endBlock; k++)
                {
                    TensorPrimitives.MultiplyAdd(b.Row(k), a[i, k], destination, destination);
                }
            }
        }
    }

    // destination += f0 r0 + f1 r1 + f2 r2 + f3 r3, so that the destination is read and written once for four rows.
    private static void AddFour(
        ReadOnlySpan<double> factors, ReadOnlySpan<double> r0, ReadOnlySpan<double> r1, ReadOnlySpan<double> r2, ReadOnlySpan<double> r3, Span<double> destination)
    {
        int j = 0;
        for (; j + Vector<double>.Count <= destination.Length; j += Vector<double>.Count)
        {
            Vector<double> sum = new(destination[j..]);
            sum = Vector.FusedMultiplyAdd(new Vector<double>(factors[0]), new Vector<double>(r0[j..]), sum);
            sum = Vector.FusedMultiplyAdd(new Vector<double>(factors[1]), new Vector<double>(r1[j..]), sum);
            sum = Vector.FusedMultiplyAdd(new Vector<double>(factors[2]), new Vector<double>(r2[j..]), sum);
            sum = Vector.FusedMultiplyAdd(new Vector<double>(factors[3]), new Vector<double>(r3[j..]), sum);
            sum.CopyTo(destination[j..]);
        }

        for (; j < destination.Length; j++)
        {
            destination[j] = (((destination[j] + (factors[0] * r0[j])) + (factors[1] * r1[j])) + (factors[2] * r2[j])) + (factors[3] * r3[j]);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Sums down the columns of something with N rows:  y_c = f sum_i x_ic.
// Mapping    first kernel: a thread a column and chunk of rows, so neighbouring threads read neighbouring addresses; second kernel: a
//            thread a column adds up the chunks.
// Precision  float64 sums. Deterministic: the chunks depend on N only.
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Algorithms;

namespace HiMo.Kernels;

/// <summary>Arguments of the column sums.</summary>
internal struct ColumnSumArguments<T>
    where T : struct, IGemmOperand
{
    /// <summary>x: outer index row, depth index column.</summary>
    public T Data;

    /// <summary>One line of columns a chunk.</summary>
    public BatchView<double> Partial;

    /// <summary>Receives y.</summary>
    public BatchView<float> Result;

    /// <summary>A line to add to y; empty: none.</summary>
    public BatchView<float> Line;

    /// <summary>Receives y and the line.</summary>
    public BatchView<float> WithLine;
    public int Rows;
    public int Columns;
    public int RowsPerChunk;

    /// <summary>Where the columns end.</summary>
    public DeviceLimit Limit;

    /// <summary>f.</summary>
    public double Factor;
}

/// <summary>Column sums on the GPU.</summary>
internal static class ColumnSumGpu
{
    private const int RowsPerChunk = 256;
    private const int MaxChunks = 64;

    /// <summary>Doubles of workspace.</summary>
    public static long PartialLength(int rows, int columns) => (long)Chunks(rows) * columns;

    /// <summary>Enqueues both kernels.</summary>
    public static void Run<T>(
        BatchStream stream, T data, int rows, int columns, double factor, BatchView<double> partial, BatchView<float> result, DeviceLimit limit = default,
        BatchView<float> line = default, BatchView<float> withLine = default)
        where T : struct, IGemmOperand
    {
        int chunks = Chunks(rows);
        ColumnSumArguments<T> arguments = new()
        {
            Data = data, Partial = partial, Result = result, Line = line, WithLine = withLine, Rows = rows, Columns = columns, RowsPerChunk = (rows + chunks - 1) / chunks, Limit = limit, Factor = factor,
        };
        stream.Elements(ChunkKernel, columns, arguments, chunks);
        stream.Elements(FinishKernel, columns, arguments);
    }

    private static int Chunks(int rows) => Math.Clamp((rows + RowsPerChunk - 1) / RowsPerChunk, 1, MaxChunks);

    /// <summary>One column of one chunk a thread.</summary>
    public static void ChunkKernel<T>(ColumnSumArguments<T> p)
        where T : struct, IGemmOperand
    {
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (column >= p.Limit.Apply(0, p.Columns))
        {
            return;
        }

        p.Data.Select(0);
        int first = Grid.IdxY * p.RowsPerChunk;
        int end = first + p.RowsPerChunk < p.Rows ? first + p.RowsPerChunk : p.Rows;
        double sum = 0.0;
        for (int row = first; row < end; row += 4)
        {
            // Four loads, then what waits for them.
            int last = end - 1;
            float value0 = p.Data.Load(row, column);
            float value1 = p.Data.Load(XMath.Min(row + 1, last), column);
            float value2 = p.Data.Load(XMath.Min(row + 2, last), column);
            float value3 = p.Data.Load(XMath.Min(row + 3, last), column);
            sum += p.Data.Finish(value0, row, column);
            sum += Inside(p.Data.Finish(value1, XMath.Min(row + 1, last), column), row + 1, end);
            sum += Inside(p.Data.Finish(value2, XMath.Min(row + 2, last), column), row + 2, end);
            sum += Inside(p.Data.Finish(value3, XMath.Min(row + 3, last), column), row + 3, end);
        }

        p.Partial[((long)Grid.IdxY * p.Columns) + column] = sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Inside(float value, int row, int end) => row < end ? value : 0.0f;

    /// <summary>One column a thread.</summary>
    public static void FinishKernel<T>(ColumnSumArguments<T> p)
        where T : struct, IGemmOperand
    {
        int column = (Grid.IdxX * Group.DimX) + Group.IdxX;
        if (column >= p.Limit.Apply(0, p.Columns))
        {
            return;
        }

        double sum = 0.0;
        for (int first = 0, chunk = 0; first < p.Rows; first += p.RowsPerChunk, chunk++)
        {
            sum += p.Partial[((long)chunk * p.Columns) + column];
        }

        float result = (float)(p.Factor * sum);
        p.Result[column] = result;
        if (!p.Line.IsEmpty)
        {
            p.WithLine[column] = p.Line[column] + result;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Sums down the columns of something with N rows:  y_c = f sum_i x_ic.
// Mapping    first kernel: a thread a column and chunk of rows, so neighbouring threads read neighbouring addresses; second kernel: a
//            thread a column adds up the chunks.
// Precision  float64 sums.
// Determinism  rows in order within a chunk, chunks eight at a time; how many there are follows from N alone.
// Limits     at most 64 chunks, so that beyond 4,096 rows a thread's chunk grows with N; the operand as MatrixIndex has it.
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
    private const int RowsPerChunk = 64;
    private const int MaxChunks = 64;

    /// <summary>Loads of a thread that are under way together.</summary>
    public const int Together = 8;

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
        for (int row = first; row < end; row += Together)
        {
            // Eight loads, then what waits for them.
            int last = end - 1;
            float value0 = p.Data.Load(row, column);
            float value1 = p.Data.Load(XMath.Min(row + 1, last), column);
            float value2 = p.Data.Load(XMath.Min(row + 2, last), column);
            float value3 = p.Data.Load(XMath.Min(row + 3, last), column);
            float value4 = p.Data.Load(XMath.Min(row + 4, last), column);
            float value5 = p.Data.Load(XMath.Min(row + 5, last), column);
            float value6 = p.Data.Load(XMath.Min(row + 6, last), column);
            float value7 = p.Data.Load(XMath.Min(row + 7, last), column);
            sum += p.Data.Finish(value0, row, column);
            sum += Inside(p.Data.Finish(value1, XMath.Min(row + 1, last), column), row + 1, end);
            sum += Inside(p.Data.Finish(value2, XMath.Min(row + 2, last), column), row + 2, end);
            sum += Inside(p.Data.Finish(value3, XMath.Min(row + 3, last), column), row + 3, end);
            sum += Inside(p.Data.Finish(value4, XMath.Min(row + 4, last), column), row + 4, end);
            sum += Inside(p.Data.Finish(value5, XMath.Min(row + 5, last), column), row + 5, end);
            sum += Inside(p.Data.Finish(value6, XMath.Min(row + 6, last), column), row + 6, end);
            sum += Inside(p.Data.Finish(value7, XMath.Min(row + 7, last), column), row + 7, end);
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
        int chunks = (p.Rows + p.RowsPerChunk - 1) / p.RowsPerChunk;
        for (int chunk = 0; chunk < chunks; chunk += Together)
        {
            double part0 = Part(p, chunk, chunks, column);
            double part1 = Part(p, chunk + 1, chunks, column);
            double part2 = Part(p, chunk + 2, chunks, column);
            double part3 = Part(p, chunk + 3, chunks, column);
            double part4 = Part(p, chunk + 4, chunks, column);
            double part5 = Part(p, chunk + 5, chunks, column);
            double part6 = Part(p, chunk + 6, chunks, column);
            double part7 = Part(p, chunk + 7, chunks, column);
            sum += part0 + part1 + (part2 + part3) + (part4 + part5 + (part6 + part7));
        }

        float result = (float)(p.Factor * sum);
        p.Result[column] = result;
        if (!p.Line.IsEmpty)
        {
            p.WithLine[column] = p.Line[column] + result;
        }
    }

    // A chunk's sum; 0 behind the last one, without a branch around the load.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static double Part<T>(ColumnSumArguments<T> p, int chunk, int chunks, int column)
        where T : struct, IGemmOperand
    {
        double part = p.Partial[((long)XMath.Min(chunk, chunks - 1) * p.Columns) + column];
        return chunk < chunks ? part : 0.0;
    }
}

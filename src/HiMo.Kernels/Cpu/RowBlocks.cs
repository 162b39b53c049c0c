// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>How the rows of a matrix are cut into tasks: by shape alone, so that no result depends on the number of threads.</summary>
internal static class RowBlocks
{
    private const int Elements = 8192;                    // some microseconds of work: little beside it is lost in claiming a task

    /// <summary>Number of blocks.</summary>
    public static int Count(int rows, int columns) => CeilDiv(rows, Height(columns));

    /// <summary>First row and the row after the last of one block.</summary>
    public static (int From, int To) Range(int block, int rows, int columns)
    {
        int height = Height(columns);
        return (block * height, Math.Min(rows, (block + 1) * height));
    }

    public static int CeilDiv(int count, int size) => (int)(((long)count + size - 1) / size);

    private static int Height(int columns) => Math.Max(1, Elements / Math.Max(1, columns));
}

// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The blocking: which parts are packed together and how the threads share the register tiles.
internal static unsafe partial class Gemm
{
    private const int BlockDepth = 384;       // a panel of A (12 rows) stays in the first-level cache
    private const int BlockRows = 1008;       // a multiple of every tile height; with BlockColumns about 3 MB of packed panels
    private const int BlockColumns = 1024;    // a multiple of every tile width
    private const int TasksPerThread = 6;     // enough to level out threads of unequal speed

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    private static void Multiply<T>(
        WorkerPool pool, int m, int n, int k, float alpha, float* a, nint aRow, nint aColumn, float* b, nint bRow, nint bColumn,
        float beta, float* c, nint cRow, GemmTriangle triangle)
        where T : struct, ILanes<T>
    {
        int width = 2 * T.Count;
        int depth = CeilDiv(k, CeilDiv(k, BlockDepth));                  // equal shares of k
        long panelsOfA = (long)depth * RoundUp(Math.Min(m, BlockRows), T.TileRows);
        long panelsOfB = (long)depth * RoundUp(Math.Min(n, BlockColumns), width);
        float* packedA = pool.Scratch(RoundUp(panelsOfA, 16) + panelsOfB);
        float* packedB = packedA + RoundUp(panelsOfA, 16);

        for (int column = 0; column < n; column += BlockColumns)
        {
            int columns = Math.Min(BlockColumns, n - column);
            for (int row = 0; row < m; row += BlockRows)
            {
                int rows = Math.Min(BlockRows, m - row);
                if (triangle == GemmTriangle.Lower && row + rows <= column)
                {
                    continue;                                             // the whole block lies above the diagonal
                }

                for (int p = 0; p < k; p += depth)
                {
                    Block<T> block = new()
                    {
                        Rows = rows,
                        Columns = columns,
                        Depth = Math.Min(depth, k - p),
                        A = a + (row * aRow) + (p * aColumn),
                        ARow = aRow,
                        AColumn = aColumn,
                        B = b + (p * bRow) + (column * bColumn),
                        BRow = bRow,
                        BColumn = bColumn,
                        PackedA = packedA,
                        PackedB = packedB,
                        Alpha = alpha,
                        Beta = p == 0 ? beta : 1.0f,
                        C = c + (row * cRow) + column,
                        CRow = cRow,
                        Diagonal = triangle == GemmTriangle.Lower ? row - column : BlockColumns + BlockRows,
                    };
                    PackWork<T> pack = new(block);
                    pool.Run(ref pack, block.PanelsOfA + block.PanelsOfB);
                    TileWork<T> tiles = new(block, pool.Threads);
                    pool.Run(ref tiles, tiles.Tasks);
                }
            }
        }
    }

    private static int RoundUp(int value, int multiple) => CeilDiv(value, multiple) * multiple;

    private static long RoundUp(long value, int multiple) => (value + multiple - 1) / multiple * multiple;

    /// <summary>One block of C and k: rows x columns, depth terms.</summary>
    private struct Block<T>
        where T : struct, ILanes<T>
    {
        public int Rows;
        public int Columns;
        public int Depth;
        public float* A;
        public nint ARow;
        public nint AColumn;
        public float* B;
        public nint BRow;
        public nint BColumn;
        public float* PackedA;
        public float* PackedB;
        public float Alpha;
        public float Beta;
        public float* C;
        public nint CRow;

        /// <summary>A tile is wanted if its last row + Diagonal reaches its first column.</summary>
        public int Diagonal;

        public readonly int PanelsOfA => CeilDiv(Rows, T.TileRows);

        public readonly int PanelsOfB => CeilDiv(Columns, 2 * T.Count);
    }

    private readonly struct PackWork<T>(Block<T> block) : IParallelWork
        where T : struct, ILanes<T>
    {
        public void Run(int task, int thread)
        {
            if (task < block.PanelsOfA)
            {
                int row = task * T.TileRows;
                GemmPacking.Pack(
                    block.A + (row * block.ARow), block.ARow, block.AColumn, Math.Min(T.TileRows, block.Rows - row), block.Depth, T.TileRows,
                    block.PackedA + ((nint)row * block.Depth));
            }
            else
            {
                int width = 2 * T.Count;
                int column = (task - block.PanelsOfA) * width;
                GemmPacking.Pack(
                    block.B + (column * block.BColumn), block.BColumn, block.BRow, Math.Min(width, block.Columns - column), block.Depth, width,
                    block.PackedB + ((nint)column * block.Depth));
            }
        }
    }

    /// <summary>A task is a few panels of A against a few panels of B, small enough for the second-level cache.</summary>
    private readonly struct TileWork<T> : IParallelWork
        where T : struct, ILanes<T>
    {
        private readonly Block<T> _block;
        private readonly int _high;
        private readonly int _wide;
        private readonly int _across;

        public TileWork(Block<T> block, int threads)
        {
            _block = block;
            _high = 4;
            _wide = 8;
            while (CeilDiv(block.PanelsOfA, _high) * CeilDiv(block.PanelsOfB, _wide) < TasksPerThread * threads && _high * _wide > 1)
            {
                if (_wide > _high)
                {
                    _wide /= 2;
                }
                else
                {
                    _high /= 2;
                }
            }

            _across = CeilDiv(block.PanelsOfB, _wide);
            Tasks = CeilDiv(block.PanelsOfA, _high) * _across;
        }

        public int Tasks { get; }

        public void Run(int task, int thread)
        {
            int width = 2 * T.Count;
            int firstPanel = task / _across * _high;
            int lastPanel = Math.Min(firstPanel + _high, _block.PanelsOfA);
            int firstColumn = task % _across * _wide * width;
            int lastColumn = Math.Min(firstColumn + (_wide * width), _block.Columns);
            for (int panel = firstPanel; panel < lastPanel; panel++)
            {
                int row = panel * T.TileRows;
                int rows = Math.Min(T.TileRows, _block.Rows - row);
                for (int column = firstColumn; column < lastColumn; column += width)
                {
                    if (row + rows - 1 + _block.Diagonal < column)
                    {
                        break;                                            // this tile and those to its right lie above the diagonal
                    }

                    GemmTile.Multiply<T>(
                        _block.Depth, _block.PackedA + ((nint)row * _block.Depth), _block.PackedB + ((nint)column * _block.Depth), _block.Alpha,
                        _block.Beta, _block.C + (row * _block.CRow) + column, _block.CRow, rows, Math.Min(width, _block.Columns - column));
                }
            }
        }
    }
}

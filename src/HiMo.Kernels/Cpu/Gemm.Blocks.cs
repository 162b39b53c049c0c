// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The blocking: C is cut into regions, one task each. A task packs what its region needs into its own thread's scratch, so that no
// packed panel crosses from core to core: on the machines measured that costs more than packing a panel twice.
internal static unsafe partial class Gemm
{
    private const int BlockDepth = 384;        // a panel of A (12 rows) stays in the first-level cache
    private const int RegionRows = 504;        // with RegionColumns 1.5 MB of packed panels, and packing is 4 % of the work
    private const int RegionColumns = 512;
    private const int TasksPerThread = 2;
    private const long WorthSharing = 1 << 20; // multiply-adds: ten microseconds of one thread, a few times the cost of a job

    private static int CeilDiv(int value, int divisor) => (value + divisor - 1) / divisor;

    private static int RoundUp(int value, int multiple) => CeilDiv(value, multiple) * multiple;

    private static void Multiply<T>(
        WorkerPool pool, int m, int n, int k, float alpha, float* a, nint aRow, nint aColumn, float* b, nint bRow, nint bColumn,
        float beta, float* c, nint cRow, GemmTriangle triangle)
        where T : struct, ILanes<T>
    {
        bool shared = pool.Threads > 1 && (long)m * n * k > WorthSharing;
        RegionWork<T> work = new()
        {
            Pool = pool,
            M = m,
            N = n,
            K = k,
            Depth = CeilDiv(k, CeilDiv(k, BlockDepth)),              // equal shares of k
            A = a,
            ARow = aRow,
            AColumn = aColumn,
            B = b,
            BRow = bRow,
            BColumn = bColumn,
            Alpha = alpha,
            Beta = beta,
            C = c,
            CRow = cRow,
            Lower = triangle == GemmTriangle.Lower,
        };
        work.Cut(shared ? TasksPerThread * pool.Threads : 1);
        if (shared)
        {
            pool.Run(ref work, work.Tasks);
            return;
        }

        for (int task = 0; task < work.Tasks; task++)
        {
            work.Run(task, 0);
        }
    }

    private struct RegionWork<T> : IParallelWork
        where T : struct, ILanes<T>
    {
        public WorkerPool Pool;
        public int M;
        public int N;
        public int K;
        public int Depth;
        public float* A;
        public nint ARow;
        public nint AColumn;
        public float* B;
        public nint BRow;
        public nint BColumn;
        public float Alpha;
        public float Beta;
        public float* C;
        public nint CRow;
        public bool Lower;
        private int _rows;
        private int _columns;
        private int _across;

        public readonly int Tasks => CeilDiv(M, _rows) * _across;

        /// <summary>Equal regions within the limits, halved along the longer side until there are enough of them.</summary>
        public void Cut(int enough)
        {
            _rows = RoundUp(CeilDiv(M, CeilDiv(M, RegionRows)), T.TileRows);
            _columns = RoundUp(CeilDiv(N, CeilDiv(N, RegionColumns)), 2 * T.Count);
            while (CeilDiv(M, _rows) * CeilDiv(N, _columns) < enough && (_rows > T.TileRows || _columns > 2 * T.Count))
            {
                if (_rows > T.TileRows && (_rows >= _columns || _columns == 2 * T.Count))
                {
                    _rows = RoundUp(_rows / 2, T.TileRows);
                }
                else
                {
                    _columns = RoundUp(_columns / 2, 2 * T.Count);
                }
            }

            _across = CeilDiv(N, _columns);
        }

        public readonly void Run(int task, int thread)
        {
            int row = task / _across * _rows;
            int column = task % _across * _columns;
            int rows = Math.Min(_rows, M - row);
            int columns = Math.Min(_columns, N - column);
            if (Lower && row + rows <= column)
            {
                return;                                              // the whole region lies above the diagonal
            }

            float* packedA = Pool.Scratch((long)Depth * (_rows + _columns));
            float* packedB = packedA + ((nint)Depth * _rows);
            for (int p = 0; p < K; p += Depth)
            {
                int depth = Math.Min(Depth, K - p);
                Pack(A + (row * ARow) + (p * AColumn), ARow, AColumn, rows, depth, T.TileRows, packedA);
                Pack(B + (p * BRow) + (column * BColumn), BColumn, BRow, columns, depth, 2 * T.Count, packedB);
                Tiles(row, rows, column, columns, depth, packedA, packedB, p == 0 ? Beta : 1.0f);
            }
        }

        private static void Pack(float* source, nint lineStride, nint depthStride, int lines, int depth, int width, float* panels)
        {
            for (int line = 0; line < lines; line += width)
            {
                GemmPacking.Pack(
                    source + (line * lineStride), lineStride, depthStride, Math.Min(width, lines - line), depth, width, panels + ((nint)line * depth));
            }
        }

        private readonly void Tiles(int row, int rows, int column, int columns, int depth, float* packedA, float* packedB, float beta)
        {
            int width = 2 * T.Count;
            for (int i = 0; i < rows; i += T.TileRows)
            {
                int height = Math.Min(T.TileRows, rows - i);
                for (int j = 0; j < columns; j += width)
                {
                    if (Lower && row + i + height <= column + j)
                    {
                        break;                                       // this tile and those to its right lie above the diagonal
                    }

                    GemmTile.Multiply<T>(
                        depth, packedA + ((nint)i * depth), packedB + ((nint)j * depth), Alpha, beta,
                        C + ((row + i) * CRow) + column + j, CRow, height, Math.Min(width, columns - j));
                }
            }
        }
    }
}

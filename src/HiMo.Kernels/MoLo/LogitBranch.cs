// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// One branch of the loss as a product of factors, A = Q K^T, walked in tiles that are made, used and forgotten.
// Forward    every tile: A, then the running statistics of its rows and columns.
// Backward   every tile again: A, D, then gradQ += D K and gradK += D^T Q. A matrix that fits in one tile is not made again.
// Shapes     Q: rows x width, K: columns x width, each with its own stride; memory of one tile, or two where the parts of D go apart.
// Determinism  tiles come in order of rows, then columns, so every sum has one order.
internal unsafe struct LogitBranch
{
    /// <summary>Sides of a tile: two of them fit a large cache together with the factors' panels.</summary>
    public const int TileRows = 1024;

    /// <inheritdoc cref="TileRows"/>
    public const int TileColumns = 1024;

    public ContrastiveLossCpu Loss;
    public float* Queries;
    public nint QueryStride;
    public float* Keys;
    public nint KeyStride;
    public int Width;

    /// <summary>Receives D K (its row part without gatherWithGrad), rows x width; null: not wanted.</summary>
    public float* GradQueries;

    /// <summary>Rows of GradQueries, GradQueriesFromColumns and GradKeys are that far apart.</summary>
    public nint GradStride;

    /// <summary>Receives the column part of D times K; null: not wanted. Meaningful only where the parts go apart.</summary>
    public float* GradQueriesFromColumns;

    /// <summary>Receives D^T Q (its column part without gatherWithGrad), columns x width; null: not wanted.</summary>
    public float* GradKeys;

    /// <summary>b, rows values; read where WeightedColumns are wanted.</summary>
    public float* Weights;

    /// <summary>Receives sum_i D_ij b_i as it moves the keys, columns values; null: not wanted.</summary>
    public float* WeightedColumns;

    /// <summary>Counts tiles for a caller that asks; null: nobody does.</summary>
    public TileProgress? Progress;

    private float* _tile;
    private float* _second;
    private bool _tileIsWhole;
    private bool _firstTileIsMade;

    /// <summary>Takes the tile's memory.</summary>
    /// <param name="workspace">Gives it.</param>
    /// <param name="split">Whether the row part and the column part of D go apart.</param>
    public void TakeTile(Workspace workspace, bool split)
    {
        int rows = Math.Min(Loss.Rows, TileRows);
        int stride = LogitTile.StrideFor(Math.Min(Loss.Columns, TileColumns));
        _tile = workspace.Floats(rows, stride);
        _second = split ? workspace.Floats(rows, stride) : null;
        _tileIsWhole = Loss.Rows <= TileRows && Loss.Columns <= TileColumns;
    }

    /// <summary>The first tile's product as tasks, to be run before <see cref="Forward"/>, which then leaves it out.</summary>
    public GemmStrips FirstTile(WorkerPool pool)
    {
        _firstTileIsMade = true;
        LogitTile tile = Tile(0, 0);
        return new()
        {
            Pool = pool, M = tile.Rows, N = tile.Columns, K = Width, A = Queries, ARow = QueryStride, AColumn = 1, B = Keys, BRow = 1, BColumn = KeyStride,
            C = tile.Pointer, CRow = tile.Stride,
        };
    }

    /// <summary>Mean cross entropies of both directions.</summary>
    public (double Rows, double Columns) Forward(WorkerPool pool, bool columnDirection)
    {
        for (int row = 0; row < Loss.Rows; row += TileRows)
        {
            for (int column = 0; column < Loss.Columns; column += TileColumns)
            {
                bool isMade = _firstTileIsMade && row == 0 && column == 0;
                Loss.Accumulate(pool, isMade ? Tile(row, column) : Multiply(pool, row, column), columnDirection);
                Progress?.Advance();
            }
        }

        return Loss.Finish(columnDirection);
    }

    /// <summary>Fills the gradients that are wanted, over s.</summary>
    public void Backward(WorkerPool pool)
    {
        for (int row = 0; row < Loss.Rows; row += TileRows)
        {
            for (int column = 0; column < Loss.Columns; column += TileColumns)
            {
                LogitTile tile;
                if (_tileIsWhole)
                {
                    tile = Tile(row, column);
                }
                else
                {
                    tile = Multiply(pool, row, column);
                    Loss.ToLogits(pool, tile, count: false);
                }

                Loss.Gradient(pool, tile, _second);
                float* columnPart = _second == null ? tile.Pointer : _second;
                float* keys = Keys + (column * KeyStride);
                float afterFirst = column == 0 ? 0.0f : 1.0f;
                if (GradQueries != null)
                {
                    Gemm.Multiply(
                        pool, tile.Rows, Width, tile.Columns, 1.0f, tile.Pointer, tile.Stride, 1, keys, KeyStride, 1, afterFirst, GradQueries + (row * GradStride), GradStride);
                }

                if (GradQueriesFromColumns != null)
                {
                    Gemm.Multiply(
                        pool, tile.Rows, Width, tile.Columns, 1.0f, columnPart, tile.Stride, 1, keys, KeyStride, 1, afterFirst, GradQueriesFromColumns + (row * GradStride), GradStride);
                }

                if (WeightedColumns != null)
                {
                    Gemm.Multiply(
                        pool, tile.Columns, 1, tile.Rows, 1.0f, columnPart, 1, tile.Stride, Weights + row, 1, 1, row == 0 ? 0.0f : 1.0f, WeightedColumns + column, 1);
                }

                if (GradKeys != null)
                {
                    Gemm.Multiply(
                        pool, tile.Columns, Width, tile.Rows, 1.0f, columnPart, 1, tile.Stride, Queries + (row * QueryStride), QueryStride, 1, row == 0 ? 0.0f : 1.0f, GradKeys + (column * GradStride), GradStride);
                }

                Progress?.Advance();
            }
        }
    }

    private readonly LogitTile Tile(int row, int column)
    {
        int columns = Math.Min(TileColumns, Loss.Columns - column);
        return new((nint)_tile, LogitTile.StrideFor(columns), row, Math.Min(TileRows, Loss.Rows - row), column, columns);
    }

    private readonly LogitTile Multiply(WorkerPool pool, int row, int column)
    {
        LogitTile tile = Tile(row, column);
        Gemm.Multiply(
            pool, tile.Rows, tile.Columns, Width, 1.0f, Queries + (row * QueryStride), QueryStride, 1, Keys + (column * KeyStride), 1, KeyStride, 0.0f, tile.Pointer, tile.Stride);
        return tile;
    }
}

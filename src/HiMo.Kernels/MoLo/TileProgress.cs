// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>How far a walk over many tiles has come. A batch of one tile is too short to be reported.</summary>
internal sealed class TileProgress
{
    private long _done;
    private long _total;

    /// <summary>Called on the caller's thread with the share that is done, above 0 to 1.</summary>
    public Action<double>? Report { get; set; }

    /// <summary>Begins a walk.</summary>
    /// <param name="rows">Rows, and columns, of the logits.</param>
    /// <param name="passes">How often every tile is visited.</param>
    public void Begin(int rows, int passes)
    {
        long tiles = RowBlocks.CeilDiv(rows, LogitBranch.TileRows) * (long)RowBlocks.CeilDiv(rows, LogitBranch.TileColumns);
        _done = 0;
        _total = tiles > 1 ? tiles * passes : 0;
    }

    /// <summary>One tile more.</summary>
    public void Advance()
    {
        if (_total > 0)
        {
            Report?.Invoke((double)++_done / _total);
        }
    }
}

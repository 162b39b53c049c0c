// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// Native memory of one computation, handed out piece by piece and taken back all at once. What the first computation of a shape
/// takes in several blocks lies in one block from the second on, so repeated shapes allocate nothing.
/// </summary>
internal sealed unsafe class Workspace : IDisposable
{
    private const long Alignment = 16;                    // floats: a cache line

    private readonly List<AlignedBuffer> _additional = [];
    private AlignedBuffer _block = new();
    private long _capacity;
    private long _used;

    /// <summary>Floats handed out since the last <see cref="Reset"/>.</summary>
    public long Used => _used;

    /// <summary>Takes all memory back; pointers given out before are invalid.</summary>
    public void Reset()
    {
        foreach (AlignedBuffer buffer in _additional)
        {
            buffer.Dispose();
        }

        _additional.Clear();
        if (_used > _capacity)
        {
            _block.Dispose();                             // first, so that old and new never exist together
            _block = new AlignedBuffer();
            _ = _block.Floats(_used);
            _capacity = _used;
        }

        _used = 0;
    }

    /// <summary>rows x columns floats on a cache-line boundary, contents undefined.</summary>
    public float* Floats(long rows, long columns = 1)
    {
        long count = (checked(rows * columns) + Alignment - 1) / Alignment * Alignment;
        long start = _used;
        _used += count;
        if (_used <= _capacity)
        {
            return _block.Floats(_capacity) + start;
        }

        AlignedBuffer buffer = new();
        _additional.Add(buffer);
        return buffer.Floats(Math.Max(count, Alignment));
    }

    /// <summary>rows x columns doubles on a cache-line boundary, contents undefined.</summary>
    public double* Doubles(long rows, long columns = 1) => (double*)Floats(rows, checked(2 * columns));

    public void Dispose()
    {
        foreach (AlignedBuffer buffer in _additional)
        {
            buffer.Dispose();
        }

        _block.Dispose();
    }
}

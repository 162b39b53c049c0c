// SPDX-License-Identifier: Apache-2.0
using ILGPU.Runtime;

namespace HiMo.Kernels;

/// <summary>Device time of single launches on a CUDA device, by an event before and one behind each: a gap of one or two microseconds is in it.</summary>
internal sealed class LaunchTimer : IDisposable
{
    private readonly List<(string Kernel, CudaEvent Start, CudaEvent End)> _launches = [];

    /// <summary>Called before a launch.</summary>
    public void Begin(AcceleratorStream stream, string kernel)
    {
        _launches.Add((kernel, new CudaEvent(), new CudaEvent()));
        _launches[^1].Start.Record(stream);
    }

    /// <summary>Called behind it.</summary>
    public void End(AcceleratorStream stream) => _launches[^1].End.Record(stream);

    /// <summary>Kernels in the order of their first launch, with launches and milliseconds; waits for the last one.</summary>
    public List<(string Kernel, int Launches, double Milliseconds)> Read()
    {
        if (_launches.Count > 0)
        {
            _launches[^1].End.Synchronize();
        }

        return [.. _launches.GroupBy(each => each.Kernel).Select(same => (same.Key, same.Count(), same.Sum(each => (double)each.End.MillisecondsSince(each.Start))))];
    }

    public void Dispose()
    {
        foreach ((_, CudaEvent start, CudaEvent end) in _launches)
        {
            start.Dispose();
            end.Dispose();
        }

        _launches.Clear();
    }
}

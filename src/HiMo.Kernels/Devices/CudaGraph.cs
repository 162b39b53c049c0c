// SPDX-License-Identifier: Apache-2.0
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

/// <summary>What a stream was asked to do, recorded once and enqueued as one; the memory that it uses must stay where it is.</summary>
internal sealed class CudaGraph : IDisposable
{
    private const int ThreadLocal = 1;      // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads are not hindered

    private nint _graph;
    private nint _executable;

    private CudaGraph(nint graph) => _graph = graph;

    /// <summary>Records what <paramref name="work"/> enqueues; nothing of it runs yet. Kernels must have been launched once before.</summary>
    /// <param name="stream">Not the default stream, which cannot be recorded.</param>
    /// <param name="work">Enqueues on that stream.</param>
    public static CudaGraph Capture(AcceleratorStream stream, Action work)
    {
        nint handle = ((CudaStream)stream).StreamPtr;
        CudaDriver.BeginCapture(handle, ThreadLocal).ThrowIfFailed();
        nint graph;
        try
        {
            work();
        }
        finally
        {
            CudaDriver.EndCapture(handle, out graph).ThrowIfFailed();
        }

        CudaGraph recorded = new(graph);
        CudaDriver.InstantiateGraph(out recorded._executable, graph, flags: 0).ThrowIfFailed();
        return recorded;
    }

    /// <summary>Enqueues the recorded work.</summary>
    public void Launch(AcceleratorStream stream) => CudaDriver.LaunchGraph(_executable, ((CudaStream)stream).StreamPtr).ThrowIfFailed();

    public void Dispose()
    {
        if (_executable != 0)
        {
            CudaDriver.DestroyExecutableGraph(_executable).ThrowIfFailed();
            _executable = 0;
        }

        if (_graph != 0)
        {
            CudaDriver.DestroyGraph(_graph).ThrowIfFailed();
            _graph = 0;
        }
    }
}

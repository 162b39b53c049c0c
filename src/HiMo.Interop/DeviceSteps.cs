// SPDX-License-Identifier: Apache-2.0
using HiMo.Kernels;
using ILGPU.Runtime;

namespace HiMo.Interop;

/// <summary>
/// Workspaces on GPUs. One belongs to a shape and a stream: what the stream still works on is never given to another. Few are kept, so
/// that batches of ever new shapes do not fill the device.
/// </summary>
/// <param name="step">Its options are those of every workspace.</param>
/// <param name="precision">Of the contrastive products.</param>
internal sealed class DeviceSteps(TrainingStep step, GpuPrecision precision) : IDisposable
{
    private const int MostIdle = 8;

    private readonly List<(AcceleratorStream Stream, GpuWorkspace Workspace)> _idle = [];
    private bool _isDisposed;

    /// <summary>Runs with a workspace that nobody else uses meanwhile.</summary>
    public void Use(Gpu gpu, AcceleratorStream stream, MatrixShape shape, Action<TrainingStep, GpuWorkspace> run)
    {
        GpuWorkspace workspace = Take(gpu, stream, shape) ?? step.CreateWorkspace(gpu, shape, precision);
        try
        {
            run(step, workspace);
        }
        finally
        {
            Return(stream, workspace);
        }
    }

    /// <summary>Frees the idle workspaces; those in use follow when they come back.</summary>
    public void Dispose()
    {
        lock (_idle)
        {
            _isDisposed = true;
            _idle.ForEach(idle => idle.Workspace.Dispose());
            _idle.Clear();
        }
    }

    private GpuWorkspace? Take(Gpu gpu, AcceleratorStream stream, MatrixShape shape)
    {
        lock (_idle)
        {
            int index = _idle.FindLastIndex(idle => idle.Stream == stream && idle.Workspace.Gpu == gpu && idle.Workspace.Shape == shape);
            if (index < 0)
            {
                return null;
            }

            GpuWorkspace found = _idle[index].Workspace;
            _idle.RemoveAt(index);
            return found;
        }
    }

    private void Return(AcceleratorStream stream, GpuWorkspace workspace)
    {
        lock (_idle)
        {
            _idle.Add((stream, workspace));
            if (_isDisposed || _idle.Count > MostIdle)
            {
                _idle[0].Workspace.Dispose();       // freeing device memory waits for the device
                _idle.RemoveAt(0);
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
using ILGPU.Runtime;

namespace HiMo.Interop;

/// <summary>
/// Workspaces on GPUs. One belongs to a stream and to what it was made for: what the stream still works on is never given to another. Few are kept,
/// so that batches of ever new shapes do not fill the device.
/// </summary>
/// <param name="mostIdle">How many.</param>
internal sealed class DevicePool<TKey, TWorkspace>(int mostIdle) : IDisposable
    where TKey : struct, IEquatable<TKey>
    where TWorkspace : class, IDisposable
{
    private readonly List<(AcceleratorStream Stream, TKey Key, TWorkspace Workspace)> _idle = [];
    private bool _isDisposed;

    /// <summary>Runs with a workspace that nobody else uses meanwhile.</summary>
    /// <param name="stream">Orders the work.</param>
    /// <param name="key">What the workspace is for, the stream's device apart.</param>
    /// <param name="create">Makes one where none is idle.</param>
    /// <param name="run">Enqueues the work.</param>
    public void Use(AcceleratorStream stream, TKey key, Func<TWorkspace> create, Action<TWorkspace> run)
    {
        TWorkspace workspace = Take(stream, key) ?? create();
        try
        {
            run(workspace);
        }
        finally
        {
            Return(stream, key, workspace);
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

    private TWorkspace? Take(AcceleratorStream stream, TKey key)
    {
        lock (_idle)
        {
            int index = _idle.FindLastIndex(idle => idle.Stream == stream && idle.Key.Equals(key));
            if (index < 0)
            {
                return null;
            }

            TWorkspace found = _idle[index].Workspace;
            _idle.RemoveAt(index);
            return found;
        }
    }

    private void Return(AcceleratorStream stream, TKey key, TWorkspace workspace)
    {
        lock (_idle)
        {
            _idle.Add((stream, key, workspace));
            if (_isDisposed || _idle.Count > mostIdle)
            {
                _idle[0].Workspace.Dispose();       // freeing device memory waits for the device
                _idle.RemoveAt(0);
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
using System.Collections.Concurrent;

namespace HiMo.Interop;

/// <summary>Idle workspaces: every caller takes one of its own, so that several threads can use one module at once.</summary>
/// <param name="create">Makes one more when none is idle.</param>
internal sealed class InstancePool<T>(Func<T> create) : IDisposable
    where T : class, IDisposable
{
    private readonly ConcurrentBag<T> _idle = [];
    private volatile bool _isDisposed;

    /// <summary>Runs with an instance that nobody else uses meanwhile.</summary>
    public TResult Use<TResult>(Func<T, TResult> run)
    {
        T instance = _idle.TryTake(out T? idle) ? idle : create();
        try
        {
            return run(instance);
        }
        finally
        {
            _idle.Add(instance);
            if (_isDisposed)
            {
                Dispose();
            }
        }
    }

    /// <summary>Frees the idle instances; those in use follow when they come back.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        while (_idle.TryTake(out T? instance))
        {
            instance.Dispose();
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Interop;

/// <summary>Idle workspaces: every caller takes one of its own, so that several threads can use one module at once.</summary>
/// <param name="create">Makes one more when none is idle.</param>
internal sealed class InstancePool<T>(Func<T> create) : IDisposable
    where T : class, IDisposable
{
    private readonly List<T> _idle = [];           // the one used last at the end, for its caches' sake
    private bool _isDisposed;

    /// <summary>Runs with an instance that nobody else uses meanwhile.</summary>
    /// <param name="run">What is done with it.</param>
    /// <param name="wanted">Taken if it is idle, for what it may still hold; another one if not.</param>
    public TResult Use<TResult>(Func<T, TResult> run, T? wanted = null)
    {
        T instance = Take(wanted) ?? create();
        try
        {
            return run(instance);
        }
        finally
        {
            bool isLate;
            lock (_idle)
            {
                isLate = _isDisposed;
                if (!isLate)
                {
                    _idle.Add(instance);
                }
            }

            if (isLate)
            {
                instance.Dispose();
            }
        }
    }

    /// <summary>Frees the idle instances; those in use follow when they come back.</summary>
    public void Dispose()
    {
        T[] idle;
        lock (_idle)
        {
            _isDisposed = true;
            idle = [.. _idle];
            _idle.Clear();
        }

        Array.ForEach(idle, instance => instance.Dispose());
    }

    private T? Take(T? wanted)
    {
        lock (_idle)
        {
            int index = wanted is null ? -1 : _idle.LastIndexOf(wanted);
            if (index < 0)
            {
                index = _idle.Count - 1;
            }

            if (index < 0)
            {
                return null;
            }

            T instance = _idle[index];
            _idle.RemoveAt(index);
            return instance;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;

namespace HiMo.Kernels;

/// <summary>
/// Persistent threads that share the tasks of one job at a time; the calling thread is one of them. A job costs about a microsecond
/// while the workers are awake. They watch for the next one for some tens of microseconds and then sleep.
/// </summary>
/// <remarks>
/// Protocol. <c>_ticket</c> holds the job's number in its upper half and the next unclaimed task in its lower half. A worker reads the
/// ticket, then the job's fields, then claims by compare-and-swap: success proves that the fields belonged to that job, because
/// they are only rewritten while the ticket says <see cref="Closed"/>, under a number of its own. Without that, a worker that had read the
/// last ticket of a job and then the larger number of tasks of the next one could claim a task that neither has. A worker that comes
/// late claims nothing and touches nothing.
/// A job started from within a task runs on that thread alone, so operations may be nested freely. Callers from other threads queue.
/// </remarks>
internal sealed unsafe class WorkerPool : IDisposable
{
    // A next task that no job has.
    private const long Closed = int.MaxValue;

    // Longer than the serial stretches between two jobs of one operation, short beside a training step.
    private static readonly long s_watchTicks = Stopwatch.Frequency / 20_000;

    [ThreadStatic]
    private static WorkerPool? t_pool;

    [ThreadStatic]
    private static int t_thread;

    private readonly Lock _callers = new();
    private readonly object _sleep = new();
    private readonly Thread[] _workers;
    private readonly AlignedBuffer[] _scratch;
    private readonly bool _mayWatch;

    private delegate*<void*, int, int, void> _invoke;
    private void* _work;
    private int _tasks;
    private long _ticket;
    private int _pending;
    private int _sleeping;
    private volatile bool _disposed;
    private volatile ExceptionDispatchInfo? _failure;

    /// <summary>Starts the workers.</summary>
    /// <param name="threads">Threads that take part, the caller's included; 0 takes one per processor. More than there are processors would
    /// only wait for each other, so they are not started.</param>
    /// <param name="oversubscribe">Start them all the same (tests of the protocol).</param>
    public WorkerPool(int threads, bool oversubscribe = false)
    {
        Guard.That(threads >= 0, threads, "must be 0 or more");
        int processors = Environment.ProcessorCount;
        Threads = threads == 0 ? processors : oversubscribe ? threads : Math.Min(threads, processors);
        _mayWatch = Threads <= processors;
        _scratch = new AlignedBuffer[Threads];
        for (int i = 0; i < Threads; i++)
        {
            _scratch[i] = new AlignedBuffer();
        }

        _workers = new Thread[Threads - 1];
        for (int i = 0; i < _workers.Length; i++)
        {
            int thread = i + 1;
            _workers[i] = new Thread(() => Serve(thread)) { IsBackground = true, Name = $"HiMo worker {thread}" };
            _workers[i].Start();
        }
    }

    /// <summary>Threads that take part in a job, the caller's included.</summary>
    public int Threads { get; }

    /// <summary>Runs all tasks and returns when they are done.</summary>
    /// <param name="work">Copied while it runs, so fields written by tasks must be behind pointers; written back at the end.</param>
    /// <param name="tasks">Number of tasks, 0 or more.</param>
    /// <exception cref="ObjectDisposedException">The pool has been disposed.</exception>
    /// <remarks>The first exception of a task is thrown here once the others have ended; tasks not yet begun are dropped.</remarks>
    public void Run<TWork>(ref TWork work, int tasks)
        where TWork : struct, IParallelWork
    {
        if (t_pool == this)
        {
            for (int task = 0; task < tasks; task++)
            {
                work.Run(task, t_thread);
            }

            return;
        }

        lock (_callers)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            WorkerPool? outer = t_pool;
            int outerThread = t_thread;
            t_pool = this;
            t_thread = 0;
            try
            {
                if (tasks <= 1 || Threads == 1)
                {
                    for (int task = 0; task < tasks; task++)
                    {
                        work.Run(task, 0);
                    }
                }
                else
                {
                    TWork shared = work;      // on this stack, where it does not move while workers hold its address
                    Publish(&Invoke<TWork>, Unsafe.AsPointer(ref shared), tasks);
                    work = shared;
                }
            }
            finally
            {
                t_pool = outer;
                t_thread = outerThread;
            }
        }
    }

    /// <summary>
    /// Scratch memory of the calling thread (of the caller's slot outside a job), kept from call to call. One operation uses it at a
    /// time: an operation that holds it must not call another one that asks for it.
    /// </summary>
    public float* Scratch(long floats) => _scratch[t_pool == this ? t_thread : 0].Floats(floats);

    /// <summary>Ends the workers after the job in progress.</summary>
    public void Dispose()
    {
        lock (_callers)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            lock (_sleep)
            {
                Monitor.PulseAll(_sleep);
            }
        }

        foreach (Thread worker in _workers)
        {
            worker.Join();
        }

        foreach (AlignedBuffer scratch in _scratch)
        {
            scratch.Dispose();
        }
    }

    private static void Invoke<TWork>(void* work, int task, int thread)
        where TWork : struct, IParallelWork => Unsafe.AsRef<TWork>(work).Run(task, thread);

    private static int Job(long ticket) => (int)(ticket >> 32);

    private void Publish(delegate*<void*, int, int, void> invoke, void* work, int tasks)
    {
        int job = Job(_ticket) + 1;
        _ = Interlocked.Exchange(ref _ticket, ((long)job << 32) | Closed);      // a full fence: no claim succeeds from here on
        _invoke = invoke;
        _work = work;
        _tasks = tasks;
        _failure = null;
        _pending = tasks;
        job++;
        _ = Interlocked.Exchange(ref _ticket, (long)job << 32);     // a full fence: either we see a sleeper, or it sees the job
        if (Volatile.Read(ref _sleeping) > 0)
        {
            lock (_sleep)
            {
                for (int i = Math.Min(_sleeping, tasks - 1); i > 0; i--)
                {
                    Monitor.Pulse(_sleep);
                }
            }
        }

        Participate(job, 0);
        SpinWait wait = default;
        while (Volatile.Read(ref _pending) > 0)
        {
            wait.SpinOnce(sleep1Threshold: -1);
        }

        _failure?.Throw();
    }

    private void Participate(int job, int thread)
    {
        int done = 0;
        while (true)
        {
            long ticket = Volatile.Read(ref _ticket);
            delegate*<void*, int, int, void> invoke = _invoke;
            void* work = _work;
            int tasks = _tasks;
            int task = (int)ticket;
            if (Job(ticket) != job || task >= tasks)
            {
                break;
            }

            if (Interlocked.CompareExchange(ref _ticket, ticket + 1, ticket) != ticket)
            {
                continue;
            }

            done++;
            if (_failure is not null)
            {
                continue;
            }

            try
            {
                invoke(work, task, thread);
            }
            catch (Exception exception)
            {
                _ = Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(exception), null);
            }
        }

        if (done > 0)
        {
            _ = Interlocked.Add(ref _pending, -done);
        }
    }

    private void Serve(int thread)
    {
        t_pool = this;
        t_thread = thread;
        int seen = 0;
        while (true)
        {
            Await(seen);
            if (_disposed)
            {
                return;
            }

            seen = Job(Volatile.Read(ref _ticket));
            Participate(seen, thread);
        }
    }

    /// <summary>Returns when a job other than <paramref name="seen"/> has been published, or on disposal.</summary>
    private void Await(int seen)
    {
        long start = Stopwatch.GetTimestamp();
        while (_mayWatch && Stopwatch.GetTimestamp() - start < s_watchTicks)
        {
            for (int i = 0; i < 16; i++)
            {
                if (Job(Volatile.Read(ref _ticket)) != seen || _disposed)
                {
                    return;
                }

                Thread.SpinWait(1);
            }
        }

        lock (_sleep)
        {
            _ = Interlocked.Increment(ref _sleeping);
            while (Job(Volatile.Read(ref _ticket)) == seen && !_disposed)
            {
                _ = Monitor.Wait(_sleep);
            }

            _sleeping--;
        }
    }
}

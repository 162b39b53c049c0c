// SPDX-License-Identifier: Apache-2.0
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

public unsafe class WorkerPoolTests
{
    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(16)]
    [TestCase(64)]
    public void Every_task_runs_exactly_once(int threads)
    {
        using WorkerPool pool = new(threads, oversubscribe: true);
        Assert.That(pool.Threads, Is.EqualTo(threads));
        foreach (int tasks in new[] { 0, 1, 2, 3, 17, 1000 })
        {
            int[] counts = new int[tasks + 1];
            for (int repeat = 1; repeat <= TestLength.Pick(20, 2000); repeat++)
            {
                Count work = new(counts, threads);
                pool.Run(ref work, tasks);
                Assert.That(counts.Take(tasks), Is.All.EqualTo(repeat));
            }

            Assert.That(counts[tasks], Is.Zero);
        }
    }

    // A job with more tasks than the one before it: a worker that was late for that one must not take what comes behind its last task.
    [TestCase(2)]
    [TestCase(8)]
    public void Small_and_large_jobs_in_turn_run_every_task_exactly_once(int threads)
    {
        using WorkerPool pool = new(threads, oversubscribe: true);
        int[] counts = new int[64];
        int rounds = TestLength.Pick(20_000, 2_000_000);
        for (int round = 0; round < rounds; round++)
        {
            Count few = new(counts, threads), many = new(counts, threads);
            pool.Run(ref few, 2);
            pool.Run(ref many, 64);
        }

        Assert.That(counts[..2], Is.All.EqualTo(2 * rounds));
        Assert.That(counts[2..], Is.All.EqualTo(rounds));
    }

    [Test]
    public void No_more_threads_than_processors()
    {
        using WorkerPool one = new(1);
        using WorkerPool all = new(0);
        using WorkerPool many = new(10_000);
        Assert.That(one.Threads, Is.EqualTo(1));
        Assert.That(all.Threads, Is.EqualTo(Environment.ProcessorCount));
        Assert.That(many.Threads, Is.EqualTo(Environment.ProcessorCount));
        Assert.That(() => new WorkerPool(-1), Throws.ArgumentException.With.Message.Contains("-1"));
    }

    [Test]
    public void Two_tasks_never_share_a_thread_index()
    {
        using WorkerPool pool = new(4, oversubscribe: true);
        int[] busy = new int[4];
        int[] clashes = [0];
        Exclusive work = new(busy, clashes);
        for (int repeat = 0; repeat < 50; repeat++)
        {
            pool.Run(ref work, 64);
        }

        Assert.That(clashes[0], Is.Zero);
    }

    [TestCase(1)]
    [TestCase(4)]
    public void An_exception_reaches_the_caller_and_the_pool_lives_on(int threads)
    {
        using WorkerPool pool = new(threads, oversubscribe: true);
        for (int repeat = 0; repeat < 20; repeat++)
        {
            Fail failing = new(repeat);
            Assert.That(() => pool.Run(ref failing, 20), Throws.InvalidOperationException.With.Message.EqualTo($"task {repeat}"));
            int[] counts = new int[10];
            Count work = new(counts, threads);
            pool.Run(ref work, 10);
            Assert.That(counts, Is.All.EqualTo(1));
        }
    }

    [TestCase(1)]
    [TestCase(4)]
    public void A_job_may_be_started_from_within_a_task(int threads)
    {
        using WorkerPool pool = new(threads, oversubscribe: true);
        int[] counts = new int[8 * 5];
        Nest work = new(pool, counts, threads);
        pool.Run(ref work, 8);
        Assert.That(counts, Is.All.EqualTo(1));
    }

    [Test]
    public void Callers_on_many_threads_queue()
    {
        using WorkerPool pool = new(3, oversubscribe: true);
        int[][] counts = new int[16][];
        Thread[] callers = new Thread[16];
        int rounds = TestLength.Pick(50, 5000);
        for (int i = 0; i < callers.Length; i++)
        {
            int[] own = counts[i] = new int[9];
            callers[i] = new Thread(() =>
            {
                for (int round = 0; round < rounds; round++)
                {
                    Count work = new(own, 3);
                    pool.Run(ref work, own.Length);
                }
            });
            callers[i].Start();
        }

        foreach (Thread caller in callers)
        {
            caller.Join();
        }

        Assert.That(counts.SelectMany(c => c), Is.All.EqualTo(rounds));
    }

    [Test]
    public void A_disposed_pool_refuses_work_and_ends_its_threads()
    {
        WorkerPool pool = new(4, oversubscribe: true);
        int[] counts = new int[5];
        Count work = new(counts, 4);
        pool.Run(ref work, 5);
        pool.Dispose();
        pool.Dispose();
        Assert.That(() => pool.Run(ref work, 5), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(counts, Is.All.EqualTo(1));
    }

    [Test]
    public void Nothing_is_allocated_per_job()
    {
        using WorkerPool pool = new(2, oversubscribe: true);
        int[] counts = new int[100];
        Count work = new(counts, 2);
        pool.Run(ref work, 100);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            pool.Run(ref work, 100);
        }

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void A_job_is_seen_by_workers_that_had_gone_to_sleep()
    {
        using WorkerPool pool = new(2, oversubscribe: true);
        for (int repeat = 0; repeat < 5; repeat++)
        {
            Thread.Sleep(20);
            using CountdownEvent met = new(2);
            Meet work = new(met);
            pool.Run(ref work, 2);
            Assert.That(met.IsSet);
        }
    }

    private readonly struct Count(int[] counts, int threads) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            if (thread < 0 || thread >= threads)
            {
                throw new InvalidOperationException($"thread {thread} of {threads}");
            }

            _ = Interlocked.Increment(ref counts[task]);
        }
    }

    private readonly struct Exclusive(int[] busy, int[] clashes) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            if (Interlocked.Exchange(ref busy[thread], 1) != 0)
            {
                _ = Interlocked.Increment(ref clashes[0]);
            }

            Thread.SpinWait(50);
            Volatile.Write(ref busy[thread], 0);
        }
    }

    private readonly struct Fail(int at) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            if (task == at)
            {
                throw new InvalidOperationException($"task {task}");
            }
        }
    }

    private readonly struct Nest(WorkerPool pool, int[] counts, int threads) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            Inner inner = new(counts, task * 5, thread, threads);
            pool.Run(ref inner, 5);
        }
    }

    private readonly struct Inner(int[] counts, int offset, int outerThread, int threads) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            if (thread != outerThread || thread >= threads)
            {
                throw new InvalidOperationException($"nested task on thread {thread}, outer on {outerThread}");
            }

            _ = Interlocked.Increment(ref counts[offset + task]);
        }
    }

    /// <summary>Both tasks must be running at once, or neither ends: proof that a sleeping worker woke up.</summary>
    private readonly struct Meet(CountdownEvent met) : IParallelWork
    {
        public void Run(int task, int thread)
        {
            met.Signal();
            if (!met.Wait(TimeSpan.FromSeconds(30)))
            {
                throw new TimeoutException("the other thread never came");
            }
        }
    }
}

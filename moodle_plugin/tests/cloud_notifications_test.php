<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports;

use local_manireports\cloud\notifications;

/**
 * Whoever started a job hears of its end, once.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(notifications::class)]
final class cloud_notifications_test extends \advanced_testcase {
    /**
     * Sends what is due; returns the messages.
     */
    private function sent(): array {
        $this->preventResetByRollback();
        $sink = $this->redirectMessages();
        notifications::send_due();
        $messages = $sink->get_messages();
        $sink->close();
        return $messages;
    }

    /**
     * Only finished jobs that a person started, once, and not when a repetition of them ends.
     */
    public function test_once(): void {
        global $DB;
        $this->resetAfterTest();
        $user = $this->getDataGenerator()->create_user();
        $generator = $this->getDataGenerator()->get_plugin_generator('local_manireports');
        $done = ['type' => 'license_allocation', 'status' => 'completed', 'emails_sent' => 200, 'completed_at' => time()];
        $job = $generator->create_job($done + ['created_by' => $user->id]);
        $generator->create_job($done);
        $generator->create_job(['created_by' => $user->id]);
        $generator->create_job($done + ['created_by' => $user->id, 'parent_job_id' => $job->id]);
        $generator->create_job(['completed_at' => time() - 2 * WEEKSECS, 'created_by' => $user->id] + $done);

        $messages = $this->sent();

        $this->assertCount(1, $messages);
        $this->assertEquals($user->id, $messages[0]->useridto);
        $this->assertSame('200 license allocation emails sent successfully, 0 failed', $messages[0]->subject);
        $this->assertStringEndsWith("/local/manireports/ui/cloud_job.php?id=$job->id", $messages[0]->contexturl);
        $this->assertSame([], $this->sent());
        // A repetition that ends later changes the job again.
        $DB->set_field('manireports_cloud_jobs', 'completed_at', time() + 5, ['id' => $job->id]);
        $this->assertSame([], $this->sent());
    }

    /**
     * The words for each end and type; an unknown type has none of its own.
     */
    public function test_words(): void {
        $user = get_admin();
        $job = (object)['type' => 'weird', 'status' => 'partial_failure', 'emails_sent' => 3, 'emails_failed' => 2];
        $this->assertSame('3 emails sent successfully, 2 failed', notifications::summary($job, $user));
        $job->type = 'csv_import';
        $job->status = 'cancelled';
        $this->assertSame('Cancelled: 3 account emails sent successfully, 2 failed', notifications::summary($job, $user));
    }

    /**
     * Nobody is told who is not there any more.
     */
    public function test_deleted_user(): void {
        $this->resetAfterTest();
        $user = $this->getDataGenerator()->create_user();
        $generator = $this->getDataGenerator()->get_plugin_generator('local_manireports');
        $generator->create_job(['status' => 'completed', 'completed_at' => time(), 'created_by' => $user->id]);
        delete_user($user);
        $this->assertSame([], $this->sent());
    }
}

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

use core\context\system;
use core_privacy\local\metadata\collection;
use core_privacy\local\request\approved_contextlist;
use core_privacy\local\request\approved_userlist;
use core_privacy\local\request\userlist;
use core_privacy\local\request\writer;
use local_manireports\cloud\forgetting;
use local_manireports\privacy\provider;

/**
 * What we know of people: said, given out, forgotten.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(provider::class)]
final class cloud_privacy_test extends \core_privacy\tests\provider_testcase {
    /** @var \stdClass */
    private \stdClass $anna;

    /** @var \stdClass */
    private \stdClass $bob;

    /** @var \stdClass a job with a mail to Anna, a copy of it to Bob, a copy to Anna's bare address, and a mail to Bob */
    private \stdClass $job;

    #[\Override]
    protected function setUp(): void {
        global $DB;
        parent::setUp();
        $this->resetAfterTest();
        $this->anna = $this->getDataGenerator()->create_user(['email' => 'Anna@x.test']);
        $this->bob = $this->getDataGenerator()->create_user(['email' => 'bob@x.test']);
        $about = ['source_id' => 7, 'source_stamp' => 9, 'recipient_data' => json_encode(['firstname' => 'Anna'])];
        $this->job = $this->getDataGenerator()->get_plugin_generator('local_manireports')->create_job([], [
            $about + ['userid' => $this->anna->id, 'email' => 'Anna@x.test', 'secret' => 'sodium:x'],
            $about + ['userid' => $this->bob->id, 'email' => 'bob@x.test', 'role' => 'manager', 'status' => 'sent'],
            ['email' => 'anna@X.test', 'role' => 'cc', 'status' => 'failed', 'error_message' => '550 anna@x.test unknown'],
            ['userid' => $this->bob->id, 'email' => 'bob@x.test', 'status' => 'sent'],
        ]);
        foreach ([['anna@x.test', 1], ['bob@x.test', 0]] as [$address, $company]) {
            $DB->insert_record('manireports_cloud_suppressions', (object)[
                'email' => $address, 'company_id' => $company, 'reason' => 'bounce', 'created_at' => 1000,
            ]);
        }
    }

    /**
     * Something of a user in each of the other tables.
     *
     * @param int $userid
     */
    private function act_as(int $userid): void {
        global $DB;
        $DB->set_field('manireports_cloud_jobs', 'created_by', $userid, ['id' => $this->job->id]);
        $DB->insert_record('manireports_cloud_campaigns', (object)['type' => 'reengagement', 'created_by' => $userid]);
        $DB->insert_record('manireports_cloud_operations', (object)['type' => 'csv_import', 'userid' => $userid]);
        foreach ([null, 1000] as $answered) {
            $DB->insert_record('manireports_cloud_requests', (object)[
                'action' => 'suppress', 'params' => '{"emails":["anna@x.test"]}', 'created_by' => "user:$userid",
                'answered_at' => $answered,
            ]);
        }
        foreach (['waiting', 'claimed'] as $status) {
            $row = ['campaign_id' => 1, 'userid' => $userid, 'status' => $status, 'data' => '{"x":"y"}'];
            $DB->insert_record('manireports_cloud_outbox', (object)$row);
        }
    }

    /**
     * Every table with people is described, with strings that exist, and so are the places outside.
     */
    public function test_metadata(): void {
        global $DB;
        $items = provider::get_metadata(new collection('local_manireports'))->get_collection();
        $this->assertCount(9 + 3 + 1, $items);
        foreach ($items as $item) {
            $strings = array_merge([$item->get_summary()], array_values($item->get_privacy_fields() ?: []));
            foreach ($strings as $string) {
                $this->assertTrue(get_string_manager()->string_exists($string, 'local_manireports'), $string);
            }
            if ($item instanceof \core_privacy\local\metadata\types\database_table) {
                $columns = $DB->get_columns($item->get_name());
                $this->assertSame([], array_diff(array_keys($item->get_privacy_fields()), array_keys($columns)));
            }
        }
    }

    /**
     * A person is found by each of the tables.
     */
    public function test_contexts(): void {
        global $DB;
        $has = fn(\stdClass $user): bool => count(provider::get_contexts_for_userid((int)$user->id)) === 1;
        $other = $this->getDataGenerator()->create_user();
        $this->assertTrue($has($this->anna));
        $this->assertFalse($has($other));
        $columns = ['jobs' => 'created_by', 'campaigns' => 'created_by', 'operations' => 'userid', 'outbox' => 'userid'];
        foreach ($columns as $t => $c) {
            $row = [$c => $other->id] + ($t === 'outbox' ? [] : ['type' => 'x']);
            $id = $DB->insert_record("manireports_cloud_$t", (object)$row);
            $this->assertTrue($has($other), $t);
            $DB->delete_records("manireports_cloud_$t", ['id' => $id]);
        }
        $request = ['action' => 'retry', 'created_by' => "user:$other->id"];
        $DB->insert_record('manireports_cloud_requests', (object)$request);
        $this->assertTrue($has($other));
    }

    /**
     * Everybody of whom we know something.
     */
    public function test_users(): void {
        $admin = get_admin();
        $this->act_as((int)$admin->id);
        $this->getDataGenerator()->create_user();
        $userlist = new userlist(system::instance(), 'local_manireports');
        provider::get_users_in_context($userlist);
        $ids = array_map('intval', $userlist->get_userids());
        sort($ids);
        $wanted = [(int)$admin->id, (int)$this->anna->id, (int)$this->bob->id];
        sort($wanted);
        $this->assertSame($wanted, $ids);
    }

    /**
     * What is given out is the person's own, and all of it.
     */
    public function test_export(): void {
        $this->act_as((int)$this->anna->id);
        $context = system::instance();
        $list = new approved_contextlist($this->anna, 'local_manireports', [$context->id]);
        provider::export_user_data($list);
        $writer = writer::with_context($context);
        $name = get_string('pluginname', 'local_manireports');
        $jobs = get_string('cloudjobs', 'local_manireports');
        $mails = $writer->get_data([$name, $jobs, 'recipients'])->recipients;
        $this->assertSame(['user', 'cc'], array_column($mails, 'role'));
        $this->assertCount(1, $writer->get_data([$name, $jobs, 'jobs'])->jobs);
        $this->assertCount(2, $writer->get_data([$name, $jobs, 'requests'])->requests);
        $suppressed = get_string('cloudsuppressions', 'local_manireports');
        $this->assertCount(1, $writer->get_data([$name, $suppressed, 'suppressions'])->suppressions);
        $this->assertStringNotContainsString('bob@x.test', json_encode($writer->get_data([$name, $jobs, 'recipients'])));
    }

    /**
     * A person is forgotten, also after Moodle has deleted the user; the rest stays.
     *
     * @dataProvider ways
     * @param bool $deleted
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('ways')]
    public function test_forget(bool $deleted): void {
        global $DB;
        $this->act_as((int)$this->anna->id);
        $DB->set_field('manireports_cloud_jobs', 'error_log', 'refused: ANNA@x.test', ['id' => $this->job->id]);
        foreach ([null, 1000] as $number => $processed) {
            $report = ['delivery_id' => "d$number", 'payload' => '{"error":"anna@x.test"}', 'processed_at' => $processed];
            $DB->insert_record('manireports_cloud_callbacks', (object)$report);
        }
        if ($deleted) {
            delete_user($DB->get_record('user', ['id' => $this->anna->id]));
        }

        $list = new approved_contextlist($this->anna, 'local_manireports', [system::instance()->id]);
        provider::delete_data_for_user($list);

        $mails = array_values($DB->get_records('manireports_cloud_recipients', null, 'id'));
        $this->assertSame(['cancelled', 'sent', 'cancelled', 'sent'], array_column($mails, 'status'));
        $this->assertSame(['', 'bob@x.test', '', 'bob@x.test'], array_column($mails, 'email'));
        $this->assertNull($mails[0]->secret);
        $this->assertNull($mails[1]->recipient_data);
        $this->assertNotNull($mails[3]->recipient_data);
        $this->assertNotSame('', $mails[0]->email_hash);
        $job = $DB->get_record('manireports_cloud_jobs', ['id' => $this->job->id]);
        $this->assertEquals([0, 'completed', 'refused: [deleted]'], [$job->created_by, $job->status, $job->error_log]);
        $kept = $DB->get_fieldset_select('manireports_cloud_suppressions', 'email', '1 = 1 ORDER BY id');
        $this->assertSame([forgetting::hashed('anna@x.test'), 'bob@x.test'], $kept);
        $payloads = $DB->get_fieldset_select('manireports_cloud_callbacks', 'payload', '1 = 1 ORDER BY id');
        $this->assertSame(['{"error":"anna@x.test"}', null], $payloads);
        $outbox = array_values($DB->get_records('manireports_cloud_outbox', null, 'id'));
        $this->assertSame(['cancelled', 'claimed'], array_column($outbox, 'status'));
        $this->assertEquals([0, 0], array_column($outbox, 'userid'));
        $requests = array_values($DB->get_records('manireports_cloud_requests', null, 'id'));
        $this->assertSame(['user:0', 'user:0'], array_column($requests, 'created_by'));
        $this->assertSame('{}', $requests[1]->params);
        $this->assertCount(0, provider::get_contexts_for_userid((int)$this->anna->id));
        $this->assertCount(1, provider::get_contexts_for_userid((int)$this->bob->id));
    }

    /**
     * Before and after Moodle has deleted the user.
     */
    public static function ways(): array {
        return ['the user is there' => [false], 'the user was deleted' => [true]];
    }

    /**
     * An address that two users have says nothing about whose a row is.
     */
    public function test_shared_address(): void {
        global $DB;
        $DB->set_field('user', 'email', 'Anna@x.test', ['id' => $this->bob->id]);
        $userlist = new approved_userlist(system::instance(), 'local_manireports', [$this->anna->id]);
        provider::delete_data_for_users($userlist);
        $mails = array_values($DB->get_records('manireports_cloud_recipients', null, 'id'));
        $this->assertSame(['', 'bob@x.test', 'anna@X.test', 'bob@x.test'], array_column($mails, 'email'));
        $this->assertTrue($DB->record_exists('manireports_cloud_suppressions', ['email' => 'anna@x.test']));
    }

    /**
     * Everybody is forgotten; the books stay.
     */
    public function test_forget_everybody(): void {
        global $DB;
        $this->act_as((int)$this->anna->id);
        provider::delete_data_for_all_users_in_context(system::instance());
        $mails = array_values($DB->get_records('manireports_cloud_recipients', null, 'id'));
        $this->assertSame(['cancelled', 'sent', 'cancelled', 'sent'], array_column($mails, 'status'));
        $this->assertSame(['', '', '', ''], array_column($mails, 'email'));
        $this->assertSame([], $DB->get_records_select('manireports_cloud_suppressions', "email NOT LIKE 'sha256:%'"));
        foreach ([$this->anna, $this->bob] as $user) {
            $this->assertCount(0, provider::get_contexts_for_userid((int)$user->id));
        }
    }

    /**
     * The sidecar writes and reads the same hash (sidecar/store/suppressions.py).
     */
    public function test_hash(): void {
        $this->assertSame('sha256:' . hash('sha256', 'anna@x.test'), forgetting::hashed('Anna@X.test'));
    }
}

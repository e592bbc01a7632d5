-- A database as version 0.1 left it (sqlite3's .dump).
BEGIN TRANSACTION;
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	canary VARCHAR NOT NULL, 
	action VARCHAR NOT NULL, 
	who VARCHAR NOT NULL, 
	reason TEXT NOT NULL, 
	"before" JSON NOT NULL, 
	"after" JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,1728000000.0,'support-nov','start','ann','looks fine','{"state": "running", "share": 0.05, "run": 1, "phase": 0, "step": 0, "step_elapsed_s": 0.0, "configured": "0.05", "definition": "", "reason": "", "started_at": 1728000000.0, "changed_at": 1728000000.0}','{"state": "running", "share": 0.05, "run": 1, "phase": 0, "step": 0, "step_elapsed_s": 0.0, "configured": "0.05", "definition": "", "reason": "looks fine", "started_at": 1728000000.0, "changed_at": 1728000000.0}');
CREATE TABLE cursors (
	file VARCHAR NOT NULL, 
	"offset" BIGINT NOT NULL, 
	PRIMARY KEY (file)
);
INSERT INTO "cursors" VALUES('w0-0123456789abcdef-7-0.spool',512);
CREATE TABLE feedback (
	"key" VARCHAR NOT NULL, 
	metric VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	at FLOAT NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	session VARCHAR NOT NULL, 
	unit VARCHAR NOT NULL, 
	canary VARCHAR NOT NULL, 
	run INTEGER NOT NULL, 
	phase INTEGER NOT NULL, 
	arm VARCHAR, 
	category VARCHAR NOT NULL, 
	comment TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "feedback" VALUES('exchange-1/metric/csat','csat',5.0,1728000090.0,'exchange-1','','abababababababababababababababab','support-nov',1,2,'candidate','','');
CREATE TABLE outcomes (
	day INTEGER NOT NULL, 
	exchange_id VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	canary VARCHAR NOT NULL, 
	run INTEGER NOT NULL, 
	phase INTEGER NOT NULL, 
	share FLOAT NOT NULL, 
	arm VARCHAR NOT NULL, 
	served_by VARCHAR, 
	reason VARCHAR NOT NULL, 
	unit VARCHAR NOT NULL, 
	session VARCHAR NOT NULL, 
	category VARCHAR NOT NULL, 
	tags JSON NOT NULL, 
	request_id VARCHAR NOT NULL, 
	provider VARCHAR NOT NULL, 
	api VARCHAR NOT NULL, 
	operation VARCHAR NOT NULL, 
	model_requested VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	stream BOOLEAN NOT NULL, 
	mirror BOOLEAN NOT NULL, 
	status INTEGER, 
	outcome VARCHAR NOT NULL, 
	error_type VARCHAR, 
	latency_s FLOAT, 
	ttft_s FLOAT, 
	ttfb_s FLOAT, 
	overhead_s FLOAT, 
	input_tokens INTEGER, 
	cached_input_tokens INTEGER, 
	cache_write_tokens INTEGER, 
	output_tokens INTEGER, 
	reasoning_tokens INTEGER, 
	usage_estimated BOOLEAN NOT NULL, 
	cost_usd FLOAT, 
	attempts JSON NOT NULL, 
	PRIMARY KEY (day, exchange_id)
);
INSERT INTO "outcomes" VALUES(20000,'exchange-1',1728000000.0,'support-nov',1,2,0.05,'candidate','baseline','cohort','abababababababababababababababab','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd','','{"region":"eu"}','','','','','','',1,0,200,'fallback','provider_timeout',0.25,NULL,NULL,NULL,10,0,NULL,20,NULL,0,NULL,'[{"arm":"candidate","provider":"openai","model":"new","status":null,"error_type":"provider_timeout","latency_s":null,"cost_usd":null}]');
INSERT INTO "outcomes" VALUES(20000,'exchange-2',1728000060.0,'support-nov',1,2,0.05,'candidate','baseline','cohort','abababababababababababababababab','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd','','{"region":"eu"}','','','','','','',1,0,200,'ok',NULL,0.25,0.1,NULL,NULL,10,0,NULL,20,NULL,0,0.01,'[{"arm":"candidate","provider":"openai","model":"new","status":null,"error_type":"provider_timeout","latency_s":null,"cost_usd":null}]');
CREATE TABLE rubrics (
	canary VARCHAR NOT NULL, 
	fixed_at FLOAT NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	document JSON NOT NULL, 
	PRIMARY KEY (canary)
);
CREATE TABLE states (
	canary VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	document JSON NOT NULL, 
	PRIMARY KEY (canary)
);
INSERT INTO "states" VALUES('support-nov',3,'{"state": "running", "share": 0.05, "run": 1, "phase": 0, "step": 0, "step_elapsed_s": 0.0, "configured": "0.05", "definition": "", "reason": "looks fine", "started_at": 1728000000.0, "changed_at": 1728000000.0}');
CREATE TABLE totals (
	name VARCHAR NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "totals" VALUES('accepted',4);
INSERT INTO "totals" VALUES('stored',3);
INSERT INTO "totals" VALUES('dropped',1);
INSERT INTO "totals" VALUES('quarantined',0);
INSERT INTO "totals" VALUES('lost',0);
CREATE INDEX outcomes_by_canary ON outcomes (canary, run, at);
CREATE INDEX feedback_by_canary ON feedback (canary, metric);
CREATE TRIGGER audit_refuses_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
COMMIT;
